-- Write the records of a part of a batch. Nobody knows their ids yet; uncommitted, they lapse.
-- Sent twice, it stages once.
-- KEYS: staging list
-- ARGV: TTL in s, how many are staged already, how many values follow, fields with values of every
--       record, then per job: id, priority, cost, start_within_ms or '', how many values follow,
--       fields with values of its own
local staged = redis.call('LLEN', KEYS[1])
if staged ~= tonumber(ARGV[2]) then return 0 end
local common = tonumber(ARGV[3])
local fields, entries = {'status', 'staged', unpack(ARGV, 4, 3 + common)}, {}
local i = 4 + common
while i <= #ARGV do
  local record, n = RECORD .. ARGV[i], tonumber(ARGV[i + 4])
  for k = 1, n do fields[2 + common + k] = ARGV[i + 4 + k] end
  redis.call('HSET', record, unpack(fields, 1, 2 + common + n))
  redis.call('EXPIRE', record, ARGV[1])
  entries[#entries + 1] = table.concat(ARGV, ' ', i, i + 3)
  i = i + 5 + n
end
redis.call('RPUSH', KEYS[1], unpack(entries))
-- The list lapses with the first of them, so what it names is there while it is.
if staged == 0 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return 1
