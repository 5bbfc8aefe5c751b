-- Renew the lease of a batch and write what has become of it.
-- KEYS: batch, active   ARGV: id, fence, lease in ms, 1 if it ends, field to forget or '', field, value, …
-- Returns its status, or false if another process holds it.
local id, fence, lease, ends, forgotten = unpack(ARGV)
if redis.call('HGET', KEYS[1], 'fence') ~= fence then return false end
local canceling = redis.call('HGET', KEYS[1], 'status') == 'cancelling'
for i = 6, #ARGV, 2 do
  -- Somebody has asked for its end meanwhile: that stands, until it has come.
  if not (ARGV[i] == 'status' and canceling and ends == '0') then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
if forgotten ~= '' then redis.call('HDEL', KEYS[1], forgotten) end
if ends == '1' then
  redis.call('ZREM', KEYS[2], id)
else
  redis.call('ZADD', KEYS[2], now_ms() + lease, id)
end
return redis.call('HGET', KEYS[1], 'status')
