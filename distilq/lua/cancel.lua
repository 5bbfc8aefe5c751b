-- Cancel a job: a queued one at once, a running one by asking its worker.
-- ARGV: id
-- Returns the status the job had before, or false if there is no such job.
local id = ARGV[1]
local status, slug, priority, owner, cost, worker = unpack(redis.call('HMGET', RECORD .. id,
  'status', 'slug', 'priority', 'owner', 'cost', 'worker'))
write_even_if_full()
if status == 'queued' then
  count(slug, priority, owner or '', -1, -cost)
  finalize(id, 'queued', 'canceled', now_ms())
elseif status == 'running' then
  redis.call('HSET', RECORD .. id, 'status', 'canceling')
  move(id, owner or '', 'running', 'canceling')
  redis.call('LPUSH', CANCELS .. worker, id)
  redis.call('EXPIRE', CANCELS .. worker, 60)
end
return status
