-- Give a claimed job its outcome and end its lease.
-- ARGV: slug, id, fence, status, generated tokens, then field and value of the record
-- Returns 1, also when this very claim has finished it before; 0 if the claim is no longer valid.
local slug, id, fence, to = unpack(ARGV, 1, 4)
local key = RECORD .. id
local status, current = unpack(redis.call('HMGET', key, 'status', 'fence'))
if current ~= fence then return 0 end
if FINAL[status] then return 1 end
if status ~= 'running' and status ~= 'canceling' then return 0 end

local now = now_ms()
redis.call('ZREM', of_model(slug, 'leases'), id)
redis.call('HSET', key, 'tokens_done', ARGV[5], unpack(ARGV, 6))
finalize(id, status, to, now)
redis.call('HINCRBY', TOTALS, 'generated_tokens', ARGV[5])
local bucket = of_model(slug, 'drain:' .. math.floor(now / 1000 / DRAIN_BUCKET_S))
redis.call('INCR', bucket)
redis.call('EXPIRE', bucket, DRAIN_BUCKET_S * DRAIN_BUCKETS)
return 1
