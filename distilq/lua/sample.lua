-- Keep a sample, unless there is one of this step; forget those that are too old.
-- KEYS: the samples; ARGV: the sample, ms of a step, ms for which samples are kept
-- Returns whether it was kept.
local now, step, kept = now_ms(), tonumber(ARGV[2]), tonumber(ARGV[3])
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if newest then
  local at = tonumber(string.match(newest[1], '%d+'))
  if math.floor(at / step) == math.floor(now / step) then return 0 end
  if at > now then redis.call('DEL', KEYS[1]) end -- the clock was set back
end
write_even_if_full()
redis.call('XADD', KEYS[1], 'MINID', string.format('%.0f', now - kept),
  string.format('%.0f-0', now), 'sample', ARGV[1])
redis.call('PEXPIREAT', KEYS[1], now + kept)
return 1
