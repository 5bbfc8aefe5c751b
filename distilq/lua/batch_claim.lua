-- Take up the batch that has waited longest for somebody, under a new fencing token.
-- KEYS: active   ARGV: prefix of the batches' keys, lease in ms
-- Returns its id and the fencing token, or false.
local now = now_ms()
local id = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 1)[1]
if not id then return false end
if redis.call('EXISTS', ARGV[1] .. id) == 0 then
  redis.call('ZREM', KEYS[1], id)
  return false
end
redis.call('ZADD', KEYS[1], now + ARGV[2], id)
return {id, redis.call('HINCRBY', ARGV[1] .. id, 'fence', 1)}
