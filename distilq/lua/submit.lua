-- Write a job's record and queue its message, or refuse because the queue is full.
-- KEYS: record, queue, counters, wake
-- ARGV: id, message, priority, cost, cap on jobs, cap on tokens, then field and value of the record
-- Returns {1} or {0, jobs queued, tokens queued}. Sent twice, it submits once.
local record, queue, counters, wake = unpack(KEYS)
local id, message, priority, cost = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
if redis.call('EXISTS', record) == 1 then return {1} end

local queued = redis.call('HMGET', counters, 'jobs', 'tokens')
local jobs, tokens = tonumber(queued[1] or 0), tonumber(queued[2] or 0)
if jobs + 1 > tonumber(ARGV[5]) or tokens + cost > tonumber(ARGV[6]) then
  return {0, jobs, tokens}
end

local now = now_ms()
local seq = redis.call('HINCRBY', counters, 'in:' .. priority, 1)
redis.call('HSET', record, 'status', 'queued', 'created', now, 'seq', seq, unpack(ARGV, 7))
redis.call('ZADD', INDEX .. 'queued', redis.call('HINCRBY', TOTALS, 'submitted', 1), id)
redis.call('LPUSH', queue, message)
count(counters, priority, cost, 1)
wake_one(wake)
return {1}
