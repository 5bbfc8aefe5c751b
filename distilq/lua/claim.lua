-- Move queued jobs into this worker's leases: the most urgent priority first, but of eight jobs one at
-- least from each that waits; within a priority each owner in its turn (see _queue). A job that
-- workers have died under is given to a worker that holds nothing else.
-- ARGV: slug, worker, number of the call, jobs held, rows wanted, tokens wanted, rows of interactive
--       jobs wanted even so, lease in ms, newest record version understood, then the priorities to
--       look at, in order
-- Returns {jobs, 1 if the worker should take nothing more until it holds nothing, 2 if it is drained}.
-- Jobs are {id, fence, rows, cost, priority, 1 if it must run alone, request, ms from its submission to
-- the claim, id of the request that submitted it, span of its submission}; if the call bears the number
-- of the last one, whose answer must have been lost, those of its jobs that this worker still holds.
local slug, worker, call = ARGV[1], ARGV[2], ARGV[3]
local held = tonumber(ARGV[4])
local rows, tokens, urgent = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local lease_ms, version = tonumber(ARGV[8]), tonumber(ARGV[9])
local QUARANTINE_S = 30
local MOST_LOOKED_AT = 1000 -- messages per call, so that a run of canceled jobs never stalls Redis
local SHARE = 8
local now, claimed, ids, newer, looked = now_ms(), {}, {}, {}, 0
local served, taken = {}, {} -- what is counted once per call, not once per job
local counters, leases = of_model(slug, 'counters'), of_model(slug, 'leases')
local last = 'distilq:claimed:' .. worker
write_even_if_full()

local function note(id, fence, r, started)
  claimed[#claimed + 1] =
    {id, fence, r.rows, r.cost, r.priority, r.suspect and 1 or 0, r.request, started - r.created,
      r.request_id, r.traceparent}
  ids[#ids + 1] = id .. ' ' .. fence
end

local function facts(id)
  local f = redis.call('HMGET', RECORD .. id,
    'status', 'v', 'priority', 'cost', 'rows', 'seq', 'owner', 'fence', 'worker', 'deaths', 'slug',
    'attempt', 'start_within_ms', 'request', 'created', 'request_id', 'started',
    'traceparent')
  return {status = f[1], v = tonumber(f[2]), priority = f[3], cost = f[4], rows = f[5], seq = f[6],
    owner = f[7] or '', fence = f[8], worker = f[9], slug = f[11], attempt = f[12],
    within = f[13], request = f[14], created = f[15], request_id = f[16] or '', started = f[17],
    traceparent = f[18] or '',
    suspect = tonumber(f[10] or 0) >= SUSPECT_DEATHS}
end

local function repeated(text)
  for id, fence in string.gmatch(string.match(text, '\n(.*)') or '', '(%S+) (%S+)') do
    local r = facts(id)
    local held = r.status == 'running' or r.status == 'canceling'
    if held and r.fence == fence and r.worker == worker then
      redis.call('ZADD', leases, 'XX', now + lease_ms, id)
      note(id, tonumber(fence), r, r.started)
    end
  end
  return {claimed, 0}
end

local before, drained = unpack(redis.call('MGET', last, 'distilq:worker:' .. worker .. ':draining'))
if before and string.match(before, '^%S+') == call then return repeated(before) end

local function answer(drain)
  for mark, seq in pairs(served) do redis.call('HSET', counters, 'out:' .. mark, seq) end
  for _, sum in pairs(taken) do count(slug, sum.priority, sum.owner, -sum.jobs, -sum.tokens) end
  redis.call('SET', last, call .. '\n' .. table.concat(ids, '\n'), 'EX', 60)
  return {claimed, drain}
end

-- Messages of distilq/queue.py begin like this; reading others as JSON takes five times as long.
local OURS = '^{"body": "[%w+/=]+", "content%-encoding": "utf%-8", "content%-type": '
  .. '"application/json", "headers": {"lang": "py", "task": "distilq.generate", "id": "(%x+)", '

local function id_of(message)
  local id = string.match(message, OURS)
  if id then return id end
  local ok, decoded = pcall(cjson.decode, message)
  local headers = ok and type(decoded) == 'table' and decoded.headers
  local id = type(headers) == 'table' and headers.id
  return type(id) == 'string' and id or nil
end

local function park(message, reason)
  local id = 'message-' .. redis.sha1hex(message)
  redis.call('HSET', of_model(slug, 'dead:' .. id), 'reason', reason, 'message', message)
  redis.call('ZADD', of_model(slug, 'dead'), now, id)
end

local function count_out(r)
  local key = r.priority .. '@' .. r.owner
  local sum = taken[key] or {priority = r.priority, owner = r.owner, jobs = 0, tokens = 0}
  sum.jobs, sum.tokens = sum.jobs + 1, sum.tokens + r.cost
  taken[key] = sum
end

-- Claim the job of a message that has been taken from its queue; what it costs its owner.
local function take(message, id)
  local r = facts(id)
  if not r.status and not redis.call('ZSCORE', EXPIRY, id) then park(message, 'unknown') end
  if r.status and r.slug ~= slug then
    park(message, 'foreign') -- of another model's job, which has its own message there
    return 0
  end
  if r.status ~= 'queued' then return 0 end -- canceled, forgotten, or a second copy of its message
  if r.v > version then
    newer[#newer + 1] = {r.priority, r.owner, message}
    return 0
  end
  if not r.suspect then
    local mark = r.owner == '' and r.priority or r.priority .. '@' .. r.owner
    served[mark] = r.seq
  end
  if r.within then
    if expire(id, now) == 1 then return 0 end
    redis.call('HDEL', RECORD .. id, 'start_within_ms') -- kept, whatever becomes of this attempt
  end
  count_out(r)
  local fence = (r.fence or 0) + 1
  redis.call('HSET', RECORD .. id, 'status', 'running', 'worker', worker, 'started', now,
    'fence', fence, 'attempt', (r.attempt or 0) + 1)
  redis.call('ZADD', leases, now + lease_ms, id)
  move(id, r.owner, 'queued', 'running')
  note(id, fence, r, now)
  rows, tokens = rows - r.rows, tokens - r.cost
  if r.priority == 'interactive' then urgent = urgent - r.rows end
  return tonumber(r.cost)
end

-- One worker at a time empties itself for those that must run alone.
local function has_quarantine()
  local key = of_model(slug, 'quarantine')
  local holder = redis.call('GET', key)
  if holder and holder ~= worker then return false end
  redis.call('SET', key, worker, 'EX', QUARANTINE_S)
  return true
end

-- The priorities that this call may claim from.
local open = {}
for n = 10, #ARGV do
  open[ARGV[n]] = redis.call('SISMEMBER', of_model(slug, 'paused'), ARGV[n]) == 0
end

-- What woke this worker is for others too.
local function wake_others()
  for priority, is_open in pairs(open) do
    if is_open and redis.call('EXISTS', ring_of(slug, priority)) == 1 then
      wake_one(slug, priority)
    end
  end
end

-- It gives back what it holds against others: the token that woke it, and the quarantine.
if drained then
  leave_quarantine(slug, worker)
  wake_others()
  if redis.call('EXISTS', of_model(slug, 'suspects')) == 1 then wake_one(slug, 'normal') end
  return {claimed, 2}
end

-- The first suspect that this call may claim; those that nobody needs to run any more go.
local function next_suspect()
  local key = of_model(slug, 'suspects')
  local waiting = redis.call('LRANGE', key, -MOST_LOOKED_AT, -1)
  for n = #waiting, 1, -1 do
    local message = waiting[n]
    local id = id_of(message)
    local r = id and facts(id)
    if not r or r.status ~= 'queued' then
      redis.call('LREM', key, -1, message)
      if id then take(message, id) else park(message, 'unreadable') end
    elseif open[r.priority] and r.v <= version then
      return message, id
    end
  end
end

local suspect, suspect_id = next_suspect()
if suspect and has_quarantine() then
  if held == 0 then
    redis.call('LREM', of_model(slug, 'suspects'), -1, suspect)
    take(suspect, suspect_id)
  end
  if held > 0 or #claimed > 0 then
    wake_others()
    return answer(held > 0 and 1 or 0)
  end
end

-- Whose turn it is in a level, and until when: the two owners that are due first.
local function look(level)
  local due = redis.call('ZRANGE', level.ring, 0, 1, 'WITHSCORES')
  level.owner, level.due, level.until_ = due[1], tonumber(due[2]), tonumber(due[4] or math.huge)
end

local function put_down(level)
  if not level.served_at then return end
  redis.call('HSET', counters, 'now:' .. level.priority, level.served_at)
  level.served_at = nil
  if redis.call('EXISTS', list_of(slug, level.priority, level.owner)) == 1 then
    redis.call('ZADD', level.ring, level.due, level.owner)
  else
    redis.call('ZREM', level.ring, level.owner)
    redis.call('HSET', counters, 'due:' .. level.priority .. '@' .. level.owner, level.due)
  end
end

local function serve(level)
  local message = redis.call('RPOP', list_of(slug, level.priority, level.owner))
  level.served_at = level.due
  if message then
    looked = looked + 1
    local id = id_of(message)
    if id then level.due = level.due + take(message, id) else park(message, 'unreadable') end
  end
  if not message or level.due > level.until_ then
    put_down(level)
    look(level)
  end
end

local levels = {}
for n = 10, #ARGV do
  local level = {priority = ARGV[n], ring = ring_of(slug, ARGV[n])}
  if open[level.priority] then
    -- Whoever else publishes to the Celery queue knows of no ring.
    if redis.call('EXISTS', list_of(slug, level.priority, '')) == 1
      and not redis.call('ZSCORE', level.ring, '') then join_ring(slug, level.priority, '') end
    look(level)
    level.passed = tonumber(redis.call('HGET', counters, 'passed:' .. level.priority) or 0)
    levels[#levels + 1] = level
  end
end

local function next_level()
  local first, due
  for _, level in ipairs(levels) do
    if level.owner then
      first = first or level
      if level.passed >= SHARE - 1 then due = level end
    end
  end
  if rows > 0 and tokens > 0 then return due or first end
  return first and first.priority == 'interactive' and urgent > 0 and first or nil
end

local function count_turn(served)
  for _, level in ipairs(levels) do
    level.passed = level.owner and level ~= served and level.passed + 1 or 0
  end
end

while looked < MOST_LOOKED_AT do
  local level = next_level()
  if not level then break end
  count_turn(level)
  serve(level)
end

for _, level in ipairs(levels) do
  put_down(level)
  redis.call('HSET', counters, 'passed:' .. level.priority, level.passed)
  if redis.call('EXISTS', level.ring) == 1 and (#newer == 0 or #claimed > 0) then
    wake_one(slug, level.priority)
  end
end
for _, back in ipairs(newer) do -- last, so that nobody is woken for them alone
  local priority, owner, message = unpack(back)
  if redis.call('LPUSH', list_of(slug, priority, owner), message) == 1 then
    join_ring(slug, priority, owner)
  end
end
return answer(0)
