-- Write the records of a part of a batch. Nobody knows their ids yet; uncommitted, they lapse.
-- KEYS: staging list
-- Sent twice, it stages once.
-- ARGV: TTL in s, how many are staged already, then per job: id, priority, cost, start_within_ms or '', how many values follow,
--       fields with values
if redis.call('LLEN', KEYS[1]) ~= tonumber(ARGV[2]) then return 0 end
local i = 3
while i <= #ARGV do
  local id, n = ARGV[i], tonumber(ARGV[i + 4])
  redis.call('HSET', RECORD .. id, 'status', 'staged', unpack(ARGV, i + 5, i + 4 + n))
  redis.call('EXPIRE', RECORD .. id, ARGV[1])
  redis.call('RPUSH', KEYS[1], table.concat({unpack(ARGV, i, i + 3)}, ' '))
  i = i + 5 + n
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
