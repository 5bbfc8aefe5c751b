-- Put in front of every other script. Key prefixes are those of distilq/keys.py.
local RECORD, INDEX, EXPIRY, TOTALS, CANCELS =
  'distilq:job:', 'distilq:jobs:', 'distilq:expiry', 'distilq:totals', 'distilq:cancels:'
local TOMBSTONE_MS = 86400000
local DRAIN_BUCKET_S, DRAIN_BUCKETS = 10, 12
local FINAL = {succeeded = true, failed = true, canceled = true, expired = true}

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- At maxmemory Redis refuses a script whose first write may grow memory, and lets it go on once it
-- has written. What ends or keeps a job must go on, so it begins by taking nothing out of a set.
local function write_even_if_full()
  redis.call('ZREM', EXPIRY, '')
end

-- The indexes are scored by the order of submission, which no two jobs share.
local function move(id, from, to)
  local order = redis.call('ZSCORE', INDEX .. from, id)
  redis.call('ZREM', INDEX .. from, id)
  redis.call('ZADD', INDEX .. to, order or 0, id)
end

-- Count a job in (sign 1) or out of (sign -1) its queue.
local function count(counters, priority, cost, sign)
  redis.call('HINCRBY', counters, 'jobs', sign)
  redis.call('HINCRBY', counters, 'tokens', sign * cost)
  redis.call('HINCRBY', counters, 'jobs:' .. priority, sign)
  redis.call('HINCRBY', counters, 'tokens:' .. priority, sign * cost)
end

-- One token per claim that is worth making: a worker that leaves jobs behind puts it back.
local function wake_one(wake)
  if redis.call('LLEN', wake) == 0 then redis.call('LPUSH', wake, '1') end
end

-- Tombstones of a day ago go two at a time, so that no call ever pays for a backlog of them.
local function forget_two(now)
  local old = redis.call('ZRANGEBYSCORE', EXPIRY, '-inf', now - TOMBSTONE_MS, 'LIMIT', 0, 2)
  for _, id in ipairs(old) do
    redis.call('ZREM', EXPIRY, id)
    for status in pairs(FINAL) do redis.call('ZREM', INDEX .. status, id) end
  end
end

-- Give a job its final state; the record lives on for its result_ttl_s from now.
local function finalize(id, from, to, now)
  local key = RECORD .. id
  local ttl, watchers = unpack(redis.call('HMGET', key, 'ttl_ms', 'watchers'))
  local expires = now + tonumber(ttl)
  redis.call('HSET', key, 'status', to, 'completed', now, 'expires', expires)
  redis.call('HDEL', key, 'watchers', 'worker')
  redis.call('PEXPIREAT', key, expires)
  redis.call('ZADD', EXPIRY, expires, id)
  move(id, from, to)
  redis.call('HINCRBY', TOTALS, to, 1)
  for channel in string.gmatch(watchers or '', '%S+') do redis.call('PUBLISH', channel, id) end
  forget_two(now)
end
