-- Queue a staged batch: all of its jobs or, when they do not fit under the caps, none.
-- KEYS: staging list
-- ARGV: slug, owner, cost of all, jobs in all, message with @id@ and @queue@, five caps
-- Returns what submit returns; {-1} if the staged jobs have lapsed. Sent twice, it commits once.
local staging = KEYS[1]
local slug, owner, cost, total, message = unpack(ARGV, 1, 5)
local staged = redis.call('LRANGE', staging, 0, -1)
if staged[1] == 'committed' then return {1} end
if #staged ~= tonumber(total) then return {-1} end
local no = refusal(slug, owner, total, cost, {unpack(ARGV, 6, 10)})
if no then return no end

local now = now_ms()
for _, entry in ipairs(staged) do
  local id, priority, tokens, within = string.match(entry, '(%S+) (%S+) (%S+) (%S*)')
  redis.call('PERSIST', RECORD .. id)
  enqueue(slug, id, priority, owner, tokens, filled(message, slug, id, priority), now, within)
end
redis.call('DEL', staging)
redis.call('RPUSH', staging, 'committed')
redis.call('EXPIRE', staging, 60)
return {1}
