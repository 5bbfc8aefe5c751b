-- Forget a final job's text; its id stays known as gone. Returns the status it had.
-- ARGV: id
local id = ARGV[1]
local status, owner = unpack(redis.call('HMGET', RECORD .. id, 'status', 'owner'))
if not status or not FINAL[status] then return status end
redis.call('DEL', RECORD .. id, EVENTS .. id, DELIVERY .. id)
redis.call('ZADD', EXPIRY, now_ms(), id)
take_from_index(id, owner or '', status)
return status
