-- Lease webhooks that are due: each host in its turn, the one served longest ago first.
-- ARGV: lease in ms, how many in all, how many per host, then host and how many for that one
-- Returns {id, fence, how often it has been taken since it was put there, host} for each.
local lease_ms, room, per_host = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now, taken, room_of = now_ms(), {}, {}
for i = 4, #ARGV, 2 do room_of[ARGV[i]] = tonumber(ARGV[i + 1]) end
write_even_if_full()

local function lease(outbox, id, host)
  local key = DELIVERY .. id
  if redis.call('EXISTS', key) == 0 then -- expired or deleted, as its job is
    redis.call('ZREM', outbox, id)
    return
  end
  redis.call('ZADD', outbox, now + lease_ms, id)
  taken[#taken + 1] =
    {id, redis.call('HINCRBY', key, 'fence', 1), redis.call('HINCRBY', key, 'tries', 1), host}
end

local function serve(host, most)
  local outbox = OUTBOX .. host
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', outbox, '-inf', now, 'LIMIT', 0, most)) do
    lease(outbox, id, host)
  end
  local first = redis.call('ZRANGE', outbox, 0, 0, 'WITHSCORES')[2]
  if first then
    redis.call('ZADD', OUTBOXES, math.max(tonumber(first), now), host)
  else
    redis.call('ZREM', OUTBOXES, host)
  end
end

-- Those without room are fewer than the hosts that were named.
local due = redis.call('ZRANGEBYSCORE', OUTBOXES, '-inf', now, 'LIMIT', 0, room + (#ARGV - 3) / 2)
for _, host in ipairs(due) do
  local most = math.min(room - #taken, room_of[host] or per_host)
  if most > 0 then serve(host, most) end
end
return taken
