-- Cancel queued jobs of one priority, a bounded number of messages per call.
-- ARGV: slug, priority
-- Returns {jobs canceled, 1 if there may be more}.
local slug, priority = ARGV[1], ARGV[2]
local MOST_PER_CALL = 500
local now, looked, canceled = now_ms(), 0, 0
write_even_if_full()

local function drop(message)
  local id = string.match(message, '"id": "(%x+)"')
  local status, owner, cost, of
  if id then
    status, owner, cost, of = unpack(redis.call('HMGET', RECORD .. id,
      'status', 'owner', 'cost', 'priority'))
  end
  if status == 'queued' and of == priority then
    count(slug, priority, owner or '', -1, -cost)
    finalize(id, 'queued', 'canceled', now)
    canceled = canceled + 1
  end
end

for _, owner in ipairs(redis.call('ZRANGE', ring_of(slug, priority), 0, -1)) do
  local list = list_of(slug, priority, owner)
  while looked < MOST_PER_CALL do
    local message = redis.call('RPOP', list)
    if not message then
      redis.call('ZREM', ring_of(slug, priority), owner)
      break
    end
    looked = looked + 1
    drop(message)
  end
end
local suspects = of_model(slug, 'suspects') -- few: what workers held that died twice
for _, message in ipairs(redis.call('LRANGE', suspects, 0, -1)) do
  local before = canceled
  drop(message)
  if canceled > before then redis.call('LREM', suspects, 1, message) end
end
return {canceled, redis.call('EXISTS', ring_of(slug, priority))}
