-- Renew the leases of the jobs a worker still runs, and note how far they are.
-- ARGV: slug, lease in ms, then per job: id, fence, tokens done, sequences done
-- Returns {id, "lost" or "canceling"} for each job the worker has to stop.
local leases, lease_ms = of_model(ARGV[1], 'leases'), ARGV[2]
local now, stop = now_ms(), {}
write_even_if_full()
for i = 3, #ARGV, 4 do
  local id, fence = ARGV[i], ARGV[i + 1]
  local key = RECORD .. id
  local status, current = unpack(redis.call('HMGET', key, 'status', 'fence'))
  if current ~= fence or (status ~= 'running' and status ~= 'canceling') then
    stop[#stop + 1] = {id, 'lost'}
  else
    redis.call('ZADD', leases, 'XX', now + lease_ms, id)
    redis.call('HSET', key, 'tokens_done', ARGV[i + 2], 'sequences_done', ARGV[i + 3])
    if status == 'canceling' then stop[#stop + 1] = {id, 'canceling'} end
  end
end
return stop
