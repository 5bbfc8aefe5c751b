-- Put in front of every other script. Names of keys are explained in distilq/keys.py.
local RECORD, INDEX, EXPIRY, TOTALS, CANCELS, OWNERS, FLIGHT, EVENTS, DELIVERY, OUTBOX, OUTBOXES =
  'distilq:job:', 'distilq:jobs:', 'distilq:expiry', 'distilq:totals', 'distilq:cancels:',
  'distilq:owners', 'distilq:flight', 'distilq:events:', 'distilq:delivery:', 'distilq:outbox:',
  'distilq:outboxes'
local PRIORITIES = {'interactive', 'normal', 'bulk'} -- in the order in which they are served
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

local function of_model(slug, name)
  return 'distilq:' .. slug .. ':' .. name
end

-- The indexes are scored by the order of submission, which no two jobs share.
local function put_in_index(id, owner, status, order)
  redis.call('ZADD', INDEX .. status, order, id)
  if owner ~= '' then redis.call('ZADD', INDEX .. status .. '@' .. owner, order, id) end
end

local function take_from_index(id, owner, status)
  redis.call('ZREM', INDEX .. status, id)
  if owner ~= '' then redis.call('ZREM', INDEX .. status .. '@' .. owner, id) end
end

local function move(id, owner, from, to)
  local order = redis.call('ZSCORE', INDEX .. from, id)
  take_from_index(id, owner, from)
  put_in_index(id, owner, to, order or 0)
end

-- Tombstones of a day ago, a few at a time, so that no call ever pays for a backlog of them.
local function forget(now, most)
  local old = redis.call('ZRANGEBYSCORE', EXPIRY, '-inf', now - TOMBSTONE_MS, 'LIMIT', 0, most)
  for _, id in ipairs(old) do
    local owner = redis.call('HGET', OWNERS, id) or ''
    redis.call('ZREM', EXPIRY, id)
    redis.call('HDEL', OWNERS, id)
    for status in pairs(FINAL) do take_from_index(id, owner, status) end
  end
end

-- Let a webhook be sent to a host at that time, or earlier if one is to be sent there anyway.
local function put_in_outbox(id, host, at)
  redis.call('ZADD', OUTBOX .. host, at, id)
  redis.call('ZADD', OUTBOXES, 'LT', at, host)
end

-- Put a job that has ended into the outbox, if its webhook asks for such an end. `hook`: the host,
-- then the states that it asks for.
local function leave_word(id, hook, to, now, expires)
  local host, asked = string.match(hook, '(%S+)(.*)')
  if not string.find(asked .. ' ', ' ' .. to .. ' ', 1, true) then return end
  redis.call('HSET', DELIVERY .. id, 'host', host, 'state', 'pending', 'next', now)
  redis.call('PEXPIREAT', DELIVERY .. id, expires)
  put_in_outbox(id, host, now)
end

-- Give a job its final state; the record lives on for its result_ttl_s from now. What is said of
-- it besides, fields and values, is written with it. `streams`: its stream ends too.
local function finalize_with(id, from, to, now, ttl, watchers, owner, streams, hook, ...)
  local key = RECORD .. id
  owner = owner or ''
  local expires = now + tonumber(ttl)
  redis.call('HSET', key, 'status', to, 'completed', now, 'expires', expires, ...)
  redis.call('HDEL', key, 'watchers')
  redis.call('PEXPIREAT', key, expires)
  redis.call('ZADD', EXPIRY, expires, id)
  if owner ~= '' then
    redis.call('HSET', OWNERS, id, owner)
    redis.call('HINCRBY', FLIGHT, owner, -1)
  end
  move(id, owner, from, to)
  if streams then
    redis.call('XADD', EVENTS .. id, '*', 'end', '1') -- times in ms are behind every fence
    redis.call('PEXPIREAT', EVENTS .. id, expires)
  end
  if hook then leave_word(id, hook, to, now, expires) end
  for channel in string.gmatch(watchers or '', '%S+') do redis.call('PUBLISH', channel, id) end
end

local function count_end(slug, to, jobs)
  redis.call('HINCRBY', TOTALS, to, jobs)
  redis.call('HINCRBY', of_model(slug, 'ended'), to, jobs)
end

local function finalize(id, from, to, now)
  local ttl, watchers, owner, streams, hook, slug = unpack(redis.call('HMGET',
    RECORD .. id, 'ttl_ms', 'watchers', 'owner', 'stream', 'hook', 'slug'))
  finalize_with(id, from, to, now, ttl, watchers, owner, streams, hook)
  count_end(slug, to, 1)
  forget(now, 2)
end
