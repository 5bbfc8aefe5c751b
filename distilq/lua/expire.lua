-- Expire a queued job whose start_within_s has passed.
-- KEYS: record, counters
-- ARGV: id
local status, created, within, priority, cost = unpack(
  redis.call('HMGET', KEYS[1], 'status', 'created', 'start_within_ms', 'priority', 'cost'))
local now = now_ms()
if status ~= 'queued' or not within or now <= created + within then return 0 end
write_even_if_full()
count(KEYS[2], priority, cost, -1)
finalize(ARGV[1], 'queued', 'expired', now)
return 1
