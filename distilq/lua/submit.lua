-- Write a job's record and queue its message, or refuse because a cap is reached.
-- ARGV: slug, id, priority, owner, cost, message, start_within_ms or '', five caps (see refusal),
--       name of an idempotency key or '', what then stands there, its TTL in s, then field and value
--       of the record
-- Returns {1, now in ms, what place() in listing.py reads: counters, then jobs finished per bucket},
-- or {0, cap's name, how much there is, the cap, jobs queued in all}.
-- Sent twice, it submits once; the second answer is {1}. {2, what stands there} if the key is taken.
local slug, id, priority, owner, cost = unpack(ARGV, 1, 5)
local record = RECORD .. id
local once, made = ARGV[13], ARGV[14]
local known = once ~= '' and redis.call('GET', once)
if known == made or redis.call('EXISTS', record) == 1 then return {1} end
if known then return {2, known} end
local no = refusal(slug, owner, 1, cost, {unpack(ARGV, 8, 12)})
if no then return no end
redis.call('HSET', record, unpack(ARGV, 16))
if once ~= '' then redis.call('SET', once, made, 'EX', ARGV[15]) end
local now = now_ms()
enqueue(slug, owner,
  {{id = id, priority = priority, cost = cost, message = ARGV[6], within_ms = ARGV[7]}}, now)

local mark = owner == '' and priority or priority .. '@' .. owner
local counters = redis.call('HMGET', of_model(slug, 'counters'), 'in:' .. mark, 'out:' .. mark,
  'jobs:' .. mark, 'jobs:interactive', 'jobs:normal', 'jobs:bulk')
local bucket, drained = math.floor(now / 1000 / DRAIN_BUCKET_S), {}
for n = 1, 60 / DRAIN_BUCKET_S do drained[n] = of_model(slug, 'drain:' .. bucket - n) end
return {1, now, counters, redis.call('MGET', unpack(drained))}
