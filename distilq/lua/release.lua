-- Hand claimed jobs back, unattempted, to the front of their queues.
-- KEYS: leases, counters, wake
-- ARGV: per job: id, fence, queue, message
-- Returns how many were still this worker's to hand back.
local now, released = now_ms(), 0
write_even_if_full()
for i = 1, #ARGV, 4 do
  local id, fence, queue, message = unpack(ARGV, i, i + 3)
  local key = RECORD .. id
  local status, current, priority, cost =
    unpack(redis.call('HMGET', key, 'status', 'fence', 'priority', 'cost'))
  if current == fence and (status == 'running' or status == 'canceling') then
    redis.call('ZREM', KEYS[1], id)
    if status == 'canceling' then
      finalize(id, status, 'canceled', now)
    else
      redis.call('HSET', key, 'status', 'queued')
      redis.call('HINCRBY', key, 'attempt', -1)
      redis.call('HDEL', key, 'worker', 'started', 'tokens_done', 'sequences_done')
      move(id, 'running', 'queued')
      count(KEYS[2], priority, cost, 1)
      redis.call('RPUSH', queue, message)
      wake_one(KEYS[3])
    end
    released = released + 1
  end
end
return released
