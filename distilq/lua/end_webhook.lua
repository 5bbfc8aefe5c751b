-- Note how sending a webhook went, and when it is to be sent again.
-- ARGV: id, fence, state, ms until the next attempt, the attempt as it is logged, attempts kept
-- Returns the state it then has; false if somebody else has it, or its job is gone. What could be
-- sent again only after its job's record has expired has failed.
local id, fence, state, delay, entry, kept = unpack(ARGV)
local key = DELIVERY .. id
local current, host = unpack(redis.call('HMGET', key, 'fence', 'host'))
if current ~= fence then return false end
write_even_if_full()
local number = redis.call('HINCRBY', key, 'attempts', 1)
redis.call('HDEL', key, 'attempt:' .. number - kept)
if state == 'pending' and tonumber(delay) >= redis.call('PTTL', key) then state = 'failed' end
redis.call('HINCRBY', key, 'fence', 1) -- so that this call, sent twice, is made once
redis.call('HSET', key, 'state', state, 'attempt:' .. number, entry)
if state == 'pending' then
  local at = now_ms() + delay
  redis.call('HSET', key, 'next', at)
  put_in_outbox(id, host, at)
else
  redis.call('HDEL', key, 'next')
  redis.call('ZREM', OUTBOX .. host, id)
end
return state
