-- Write a job's record and queue its message, or refuse because a cap is reached.
-- ARGV: slug, id, priority, owner, cost, message, start_within_ms or '', five caps (see refusal),
--       then field and value of the record
-- Returns {1}, or {0, cap's name, how much there is, the cap, jobs queued in all}.
-- Sent twice, it submits once.
local slug, id, priority, owner, cost = unpack(ARGV, 1, 5)
local record = RECORD .. id
if redis.call('EXISTS', record) == 1 then return {1} end
local no = refusal(slug, owner, 1, cost, {unpack(ARGV, 8, 12)})
if no then return no end
redis.call('HSET', record, unpack(ARGV, 13))
enqueue(slug, id, priority, owner, cost, ARGV[6], now_ms(), ARGV[7])
return {1}
