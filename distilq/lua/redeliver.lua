-- Send a job's webhook once more, at once, with the whole series of attempts before it.
-- ARGV: id
-- Returns 1; 0 if there is none to send: the job has no webhook, or none for its end, or is gone.
local id, now = ARGV[1], now_ms()
local key = DELIVERY .. id
local host = redis.call('HGET', key, 'host')
if not host then return 0 end
redis.call('HSET', key, 'state', 'pending', 'next', now, 'tries', 0)
put_in_outbox(id, host, now)
return 1
