-- Forget a final job's text; its id stays known as gone. Returns the status it had.
-- KEYS: record
-- ARGV: id
local status = redis.call('HGET', KEYS[1], 'status')
if not status or not FINAL[status] then return status end
redis.call('DEL', KEYS[1])
redis.call('ZADD', EXPIRY, now_ms(), ARGV[1])
redis.call('ZREM', INDEX .. status, ARGV[1])
return status
