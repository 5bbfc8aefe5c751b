-- Ask for the end of a batch; one that has ended, or is about to, stays as it is.
-- KEYS: batch   ARGV: time in s
local status = redis.call('HGET', KEYS[1], 'status')
if status == 'validating' or status == 'in_progress' then
  redis.call('HSET', KEYS[1], 'status', 'cancelling', 'at:cancelling', ARGV[1])
end
return status
