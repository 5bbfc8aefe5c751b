-- Write the records of a part of a batch. Nobody knows their ids yet; uncommitted, they lapse.
-- KEYS: staging list
-- ARGV: TTL in s, then per job: id, priority, cost, how many values follow, fields with values
local i = 2
while i <= #ARGV do
  local id, priority, cost, n = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  redis.call('HSET', RECORD .. id, 'status', 'staged', unpack(ARGV, i + 4, i + 3 + n))
  redis.call('EXPIRE', RECORD .. id, ARGV[1])
  redis.call('RPUSH', KEYS[1], id .. ' ' .. priority .. ' ' .. cost)
  i = i + 4 + n
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
