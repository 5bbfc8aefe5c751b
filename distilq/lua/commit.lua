-- Queue a staged batch: all of its jobs or, when they do not fit under the caps, none.
-- KEYS: staging list, counters, wake
-- ARGV: cap on jobs, cap on tokens, cost of all, jobs in all, message with @id@ and @queue@,
--       then per priority: name, queue
-- Returns {1} or {0, jobs queued, tokens queued}; {-1} if the staged jobs have lapsed.
-- Sent twice, it commits once.
local staging, counters, wake = unpack(KEYS)
local total, message = tonumber(ARGV[4]), ARGV[5]
local queues = {}
for i = 6, #ARGV, 2 do queues[ARGV[i]] = ARGV[i + 1] end

local staged = redis.call('LRANGE', staging, 0, -1)
if staged[1] == 'committed' then return {1} end
if #staged ~= total then return {-1} end
local queued = redis.call('HMGET', counters, 'jobs', 'tokens')
local jobs, tokens = tonumber(queued[1] or 0), tonumber(queued[2] or 0)
if jobs + total > tonumber(ARGV[1]) or tokens + ARGV[3] > tonumber(ARGV[2]) then
  return {0, jobs, tokens}
end

local now = now_ms()
for _, entry in ipairs(staged) do
  local id, priority, cost = string.match(entry, '(%S+) (%S+) (%S+)')
  local seq = redis.call('HINCRBY', counters, 'in:' .. priority, 1)
  redis.call('HSET', RECORD .. id, 'status', 'queued', 'created', now, 'seq', seq)
  redis.call('PERSIST', RECORD .. id)
  redis.call('ZADD', INDEX .. 'queued', redis.call('HINCRBY', TOTALS, 'submitted', 1), id)
  redis.call('LPUSH', queues[priority],
    (message:gsub('@id@', id):gsub('@queue@', queues[priority])))
  count(counters, priority, cost, 1)
end
redis.call('DEL', staging)
redis.call('RPUSH', staging, 'committed')
redis.call('EXPIRE', staging, 60)
wake_one(wake)
return {1}
