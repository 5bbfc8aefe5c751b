-- Ask to be told on a channel when a job is final. Returns its status, or false if there is none.
-- KEYS: record
-- ARGV: channel
local status, watchers = unpack(redis.call('HMGET', KEYS[1], 'status', 'watchers'))
if not status or FINAL[status] then return status end
write_even_if_full()
if not string.find(' ' .. (watchers or '') .. ' ', ' ' .. ARGV[1] .. ' ', 1, true) then
  redis.call('HSET', KEYS[1], 'watchers', (watchers or '') .. ' ' .. ARGV[1])
end
return status
