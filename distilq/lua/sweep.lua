-- Do what is due, if this process is the one that sweeps: take the jobs whose lease has lapsed from
-- their dead worker and queue them again, in front; expire what was not started in time; forget.
-- ARGV: slug, sweeper, ms for which it stays the one, deaths that make a job poisoned,
--       its error with @history@, message with @id@ and @queue@
-- Returns how many leases had lapsed; -1 if another process sweeps.
local slug, sweeper, lock_ms, most, problem, message = unpack(ARGV)
local MOST_PER_CALL = 100
local lock, leases = of_model(slug, 'sweeper'), of_model(slug, 'leases')
local holder = redis.call('GET', lock)
if holder and holder ~= sweeper then return -1 end
write_even_if_full()
redis.call('SET', lock, sweeper, 'PX', lock_ms)
local now = now_ms()

local function bury(id, key)
  leave_quarantine(slug, redis.call('HGET', key, 'worker'))
  local history = '[' .. (redis.call('HGET', key, 'history') or '') .. ']'
  local error = problem:gsub('@history@', (history:gsub('%%', '%%%%')))
  redis.call('HSET', key, 'error', error)
  redis.call('HSET', of_model(slug, 'dead:' .. id), 'reason', 'poisoned', 'history', history,
    'message', (message:gsub('@id@', id)), 'request', redis.call('HGET', key, 'request'),
    'owner', redis.call('HGET', key, 'owner') or '')
  redis.call('ZADD', of_model(slug, 'dead'), now, id)
end

local function note_death(key)
  local worker, started, history = unpack(redis.call('HMGET', key, 'worker', 'started', 'history'))
  local entry = string.format('{"worker":"%s","started_ms":%s,"lapsed_ms":%.0f}', worker, started, now)
  redis.call('HSET', key, 'history', history and history .. ',' .. entry or entry)
  return redis.call('HINCRBY', key, 'deaths', 1)
end

local lapsed = redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, MOST_PER_CALL)
local seq = {}
for _, id in ipairs(lapsed) do seq[id] = tonumber(redis.call('HGET', RECORD .. id, 'seq') or 0) end
table.sort(lapsed, function(a, b) return seq[a] > seq[b] end) -- the oldest last, so in front
for _, id in ipairs(lapsed) do
  local key = RECORD .. id
  local status = redis.call('HGET', key, 'status')
  redis.call('ZREM', leases, id)
  if status == 'canceling' then
    finalize(id, status, 'canceled', now)
  elseif status == 'running' and note_death(key) >= tonumber(most) then
    bury(id, key)
    finalize(id, status, 'failed', now)
  elseif status == 'running' then
    requeue(slug, id, message)
  elseif not status then -- somebody has deleted the record
    take_from_index(id, '', 'running')
    take_from_index(id, '', 'canceling')
  end
end

local deadlines = of_model(slug, 'deadlines')
for _, id in ipairs(redis.call('ZRANGEBYSCORE', deadlines, '-inf', now - 1, 'LIMIT', 0, MOST_PER_CALL)) do
  redis.call('ZREM', deadlines, id)
  expire(id, now)
end
forget(now, MOST_PER_CALL)
return #lapsed
