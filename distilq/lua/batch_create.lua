-- Keep a new batch, for the next process that looks for one.
-- KEYS: batch, active, index…   ARGV: id, created_at in s, fingerprint, head, known until in s, prefix of such keys
-- Returns the fingerprint of the batch that has this id already, or false.
local known = redis.call('HGET', KEYS[1], 'fingerprint')
if known then return known end
local id, created, fingerprint, head, known_until = unpack(ARGV)
redis.call('HSET', KEYS[1], 'head', head, 'fingerprint', fingerprint, 'status', 'validating', 'fence', 0)
redis.call('EXPIREAT', KEYS[1], known_until)
for i = 3, #KEYS do
  redis.call('ZADD', KEYS[i], created, id)
  -- Those that are known no more, a few at a time: the oldest first, as all are known equally long.
  for _, old in ipairs(redis.call('ZRANGE', KEYS[i], 0, 1)) do
    if redis.call('EXISTS', ARGV[6] .. old) == 0 then redis.call('ZREM', KEYS[i], old) end
  end
end
redis.call('ZADD', KEYS[2], now_ms(), id)
return false
