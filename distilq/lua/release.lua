-- Hand claimed jobs back, unattempted, to the front of their queues.
-- ARGV: slug, message with @id@ and @queue@, then per job: id, fence
-- Returns how many were still this worker's to hand back.
local slug, now, released = ARGV[1], now_ms(), 0
write_even_if_full()
for i = 3, #ARGV, 2 do
  local id, fence = unpack(ARGV, i, i + 1)
  local key = RECORD .. id
  local status, current = unpack(redis.call('HMGET', key, 'status', 'fence'))
  if current == fence and (status == 'running' or status == 'canceling') then
    redis.call('ZREM', of_model(slug, 'leases'), id)
    if status == 'canceling' then
      finalize(id, status, 'canceled', now)
    else
      redis.call('HINCRBY', key, 'attempt', -1)
      requeue(slug, id, ARGV[2])
    end
    released = released + 1
  end
end
return released
