-- Queue a staged batch: all of its jobs or, when they do not fit under the caps, none.
-- KEYS: staging list
-- ARGV: slug, owner, cost of all, jobs in all, message with @id@ and @queue@, five caps, name of an
--       idempotency key or '', what then stands there, its TTL in s
-- Returns what submit returns; {-1} if the staged jobs have lapsed. Sent twice, it commits once.
local staging = KEYS[1]
local slug, owner, cost, total, message = unpack(ARGV, 1, 5)
local once, made, once_s = unpack(ARGV, 11, 13)
local known = once ~= '' and redis.call('GET', once)
local staged = redis.call('LRANGE', staging, 0, -1)
if staged[1] == 'committed' or known == made then return {1} end
if known and known:sub(-2) ~= ' -' then -- another call with this key was faster
  for _, entry in ipairs(staged) do redis.call('DEL', RECORD .. entry:match('%S+')) end
  redis.call('DEL', staging)
  return {2, known}
end
if #staged ~= tonumber(total) then return {-1} end
local no = refusal(slug, owner, total, cost, {unpack(ARGV, 6, 10)})
if no then
  if known and known == string.match(made, '.* ') .. '-' then redis.call('DEL', once) end
  return no
end

local now, parts = now_ms(), {}
for _, priority in ipairs(PRIORITIES) do parts[priority] = parts_of(message, slug, priority) end

local function job_of(entry)
  local id, priority, tokens, within = string.match(entry, '(%S+) (%S+) (%S+) (%S*)')
  redis.call('PERSIST', RECORD .. id)
  return {id = id, priority = priority, cost = tokens, within_ms = within,
    message = table.concat(parts[priority], id)}
end

for first = 1, #staged, ENQUEUED_AT_ONCE do
  local jobs = {}
  for n = first, math.min(first + ENQUEUED_AT_ONCE - 1, #staged) do
    jobs[#jobs + 1] = job_of(staged[n])
  end
  enqueue(slug, owner, jobs, now)
end
if once ~= '' then redis.call('SET', once, made, 'EX', once_s) end
redis.call('DEL', staging)
redis.call('RPUSH', staging, 'committed')
redis.call('EXPIRE', staging, 60)
return {1}
