-- Cancel a job: a queued one at once, a running one by asking its worker.
-- KEYS: record, counters
-- ARGV: id
-- Returns the status the job had before, or false if there is no such job.
local id = ARGV[1]
local status, priority, cost, worker =
  unpack(redis.call('HMGET', KEYS[1], 'status', 'priority', 'cost', 'worker'))
write_even_if_full()
if status == 'queued' then
  count(KEYS[2], priority, cost, -1)
  finalize(id, 'queued', 'canceled', now_ms())
elseif status == 'running' then
  redis.call('HSET', KEYS[1], 'status', 'canceling')
  move(id, 'running', 'canceling')
  redis.call('LPUSH', CANCELS .. worker, id)
  redis.call('EXPIRE', CANCELS .. worker, 60)
end
return status
