-- Give a claimed job its outcome and end its lease.
-- KEYS: leases, drain counter prefix
-- ARGV: id, fence, status, generated tokens, then field and value of the record
-- Returns 1, also when this very claim has finished it before; 0 if the claim is no longer valid.
local id, fence, to = ARGV[1], ARGV[2], ARGV[3]
local key = RECORD .. id
local status, current = unpack(redis.call('HMGET', key, 'status', 'fence'))
if current ~= fence then return 0 end
if FINAL[status] then return 1 end
if status ~= 'running' and status ~= 'canceling' then return 0 end

local now = now_ms()
write_even_if_full()
redis.call('HSET', key, 'tokens_done', ARGV[4], unpack(ARGV, 5))
redis.call('ZREM', KEYS[1], id)
finalize(id, status, to, now)
redis.call('HINCRBY', TOTALS, 'generated_tokens', ARGV[4])
local bucket = KEYS[2] .. math.floor(now / 1000 / DRAIN_BUCKET_S)
redis.call('INCR', bucket)
redis.call('EXPIRE', bucket, DRAIN_BUCKET_S * DRAIN_BUCKETS)
return 1
