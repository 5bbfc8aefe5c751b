-- Put in front of the scripts that put jobs into queues or take them out.
--
-- A priority has one list per owner and a ring, the set of owners whose list is not empty by the
-- virtual time at which their next job is due (start-time fair queueing: Goyal, Vin, Cheng, SIGCOMM
-- 1996). A job moves its owner's next one back by its cost in tokens, so each owner gets an equal
-- share of tokens however many jobs it has queued. O(log owners) per job, whatever the depth.

-- The list of the owner '' bears the name of the Celery queue.
local function list_of(slug, priority, owner)
  return 'distilq.' .. slug .. '.' .. priority .. (owner == '' and '' or '@' .. owner)
end

local function ring_of(slug, priority)
  return of_model(slug, 'ring:' .. priority)
end

-- Count jobs into their queue or, with negative numbers, out of it.
local function count(slug, priority, owner, jobs, tokens)
  local counters = of_model(slug, 'counters')
  redis.call('HINCRBY', counters, 'jobs', jobs)
  redis.call('HINCRBY', counters, 'tokens', tokens)
  redis.call('HINCRBY', counters, 'jobs:' .. priority, jobs)
  redis.call('HINCRBY', counters, 'tokens:' .. priority, tokens)
  if owner ~= '' then
    redis.call('HINCRBY', counters, 'jobs@' .. owner, jobs)
    redis.call('HINCRBY', counters, 'tokens@' .. owner, tokens)
    redis.call('HINCRBY', counters, 'jobs:' .. priority .. '@' .. owner, jobs)
  end
end

-- Why so many jobs of this cost may not be queued, as an answer for the client, or nil.
-- caps: jobs and tokens queued in all, jobs and tokens queued by the owner, jobs of the owner in
-- flight; 0: no cap.
local function refusal(slug, owner, jobs, tokens, caps)
  local held = redis.call('HMGET', of_model(slug, 'counters'),
    'jobs', 'tokens', 'jobs@' .. owner, 'tokens@' .. owner)
  held[5] = redis.call('HGET', FLIGHT, owner)
  local more = {jobs, tokens, jobs, tokens, jobs}
  local names = {'jobs', 'tokens', 'own_jobs', 'own_tokens', 'own_in_flight'}
  for n = 1, 5 do
    local cap, now = tonumber(caps[n]), tonumber(held[n] or 0)
    if cap > 0 and now + more[n] > cap then
      return {0, names[n], now, cap, tonumber(held[1] or 0)}
    end
  end
end

-- A token for one worker; one that leaves jobs behind puts it back. Interactive jobs have a list of
-- their own, which workers that are full of other jobs wait on too.
local function wake_one(slug, priority)
  local wake = of_model(slug, priority == 'interactive' and 'wake:interactive' or 'wake')
  if redis.call('LLEN', wake) == 0 then redis.call('LPUSH', wake, '1') end
end

-- Let an owner that has just come to have jobs take part: not before those who waited, and not
-- before the time up to which it has had its share already.
local function join_ring(slug, priority, owner)
  local virtual, had = unpack(redis.call('HMGET', of_model(slug, 'counters'),
    'now:' .. priority, 'due:' .. priority .. '@' .. owner))
  local due = math.max(tonumber(virtual or 0), tonumber(had or 0))
  redis.call('ZADD', ring_of(slug, priority), due, owner)
end

-- Queue messages of one list; `front` for those of jobs that have been in front before.
local function push(slug, priority, owner, messages, front)
  local list = list_of(slug, priority, owner)
  local length = redis.call(front and 'RPUSH' or 'LPUSH', list, unpack(messages))
  if length == #messages then join_ring(slug, priority, owner) end
  wake_one(slug, priority)
end

-- Jobs per call of enqueue at most: Lua hands over some thousands of values at once, not more.
local ENQUEUED_AT_ONCE = 500

-- Queue jobs of one owner and one priority for the first time.
local function enqueue_level(slug, owner, priority, jobs, now)
  local mark = owner == '' and priority or priority .. '@' .. owner
  local seq = redis.call('HINCRBY', of_model(slug, 'counters'), 'in:' .. mark, #jobs) - #jobs
  local messages, tokens = {}, 0
  for n, job in ipairs(jobs) do
    redis.call('HSET', RECORD .. job.id, 'status', 'queued', 'created', now, 'seq', seq + n)
    if job.within_ms ~= '' then
      redis.call('ZADD', of_model(slug, 'deadlines'), now + job.within_ms, job.id)
    end
    messages[n], tokens = job.message, tokens + job.cost
  end
  count(slug, priority, owner, #jobs, tokens)
  push(slug, priority, owner, messages)
end

-- Queue jobs of one owner for the first time: tables of id, priority, cost, within_ms and message.
-- What can be said of all is said once, as a command costs more than what it does.
local function enqueue(slug, owner, jobs, now)
  local order = redis.call('HINCRBY', TOTALS, 'submitted', #jobs) - #jobs
  local ordered, levels = {}, {}
  for n, job in ipairs(jobs) do
    ordered[2 * n - 1], ordered[2 * n] = order + n, job.id
    local level = levels[job.priority] or {}
    level[#level + 1], levels[job.priority] = job, level
  end
  redis.call('ZADD', INDEX .. 'queued', unpack(ordered))
  if owner ~= '' then
    redis.call('ZADD', INDEX .. 'queued@' .. owner, unpack(ordered))
    redis.call('HINCRBY', FLIGHT, owner, #jobs)
  end
  for priority, level in pairs(levels) do enqueue_level(slug, owner, priority, level, now) end
end

-- What stands between the ids in the messages of a priority, of a message with @id@ and @queue@:
-- table.concat(parts, id) is a job's, in a twentieth of the time of gsub.
local function parts_of(message, slug, priority)
  local text, parts = message:gsub('@queue@', list_of(slug, priority, '')), {}
  for part in string.gmatch(text .. '@id@', '(.-)@id@') do parts[#parts + 1] = part end
  return parts
end

-- From this many deaths on a job runs alone: which of a batch has killed its worker nobody knows,
-- and its neighbours must not end as poisoned with it.
local SUSPECT_DEATHS = 2

local function leave_quarantine(slug, worker)
  local key = of_model(slug, 'quarantine')
  if redis.call('GET', key) == worker then redis.call('DEL', key) end
end

-- Put a claimed job back in front; its record says whose it is and what it costs.
local function requeue(slug, id, message)
  local key = RECORD .. id
  local priority, owner, cost, deaths, worker =
    unpack(redis.call('HMGET', key, 'priority', 'owner', 'cost', 'deaths', 'worker'))
  owner = owner or ''
  redis.call('HSET', key, 'status', 'queued')
  redis.call('HDEL', key, 'worker', 'started', 'tokens_done', 'sequences_done')
  move(id, owner, 'running', 'queued')
  count(slug, priority, owner, 1, cost)
  message = table.concat(parts_of(message, slug, priority), id)
  if tonumber(deaths or 0) < SUSPECT_DEATHS then
    push(slug, priority, owner, {message}, true)
  else
    leave_quarantine(slug, worker)
    redis.call('LPUSH', of_model(slug, 'suspects'), message)
    wake_one(slug, priority)
  end
end

-- End a queued job whose start_within_s has passed; 1 if it did.
local function expire(id, now)
  local status, created, within, slug, priority, owner, cost = unpack(redis.call('HMGET',
    RECORD .. id, 'status', 'created', 'start_within_ms', 'slug', 'priority', 'owner', 'cost'))
  if status ~= 'queued' or not within then return 0 end
  if now <= created + within then return 0 end
  count(slug, priority, owner or '', -1, -cost)
  finalize(id, 'queued', 'expired', now)
  return 1
end
