-- Write the records of a part of a batch. Nobody knows their ids yet; uncommitted, they lapse.
-- Sent twice, it stages once.
-- KEYS: staging list
-- ARGV: TTL in s, how many are staged already, then per job: id, priority, cost, start_within_ms or
--       '', how many values follow, fields with values
local staged = redis.call('LLEN', KEYS[1])
if staged ~= tonumber(ARGV[2]) then return 0 end
local i = 3
while i <= #ARGV do
  local id, n = ARGV[i], tonumber(ARGV[i + 4])
  redis.call('HSET', RECORD .. id, 'status', 'staged', unpack(ARGV, i + 5, i + 4 + n))
  redis.call('EXPIRE', RECORD .. id, ARGV[1])
  redis.call('RPUSH', KEYS[1], table.concat({unpack(ARGV, i, i + 3)}, ' '))
  i = i + 5 + n
end
-- The list lapses with the first of them, so what it names is there while it is.
if staged == 0 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return 1
