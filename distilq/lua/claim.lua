-- Move queued jobs into this worker's leases, the most urgent queue first.
-- KEYS: leases, counters, wake, dead, then the queues in the order they are served
-- ARGV: worker, rows wanted, lease in ms, newest record version understood
-- Returns a list of {index of the queue, message, id, fence, rows, request}.
local leases, counters, wake, dead = unpack(KEYS)
local worker, wanted = ARGV[1], tonumber(ARGV[2])
local lease_ms, version = tonumber(ARGV[3]), tonumber(ARGV[4])
local MOST_LOOKED_AT = 1000 -- messages per call, so that a run of canceled jobs never stalls Redis
local now, claimed, newer, looked = now_ms(), {}, {}, 0

write_even_if_full()

local function id_of(message)
  local ok, decoded = pcall(cjson.decode, message)
  local headers = ok and type(decoded) == 'table' and decoded.headers
  local id = type(headers) == 'table' and headers.id
  return type(id) == 'string' and id or nil
end

local function take(index, message, id)
  local key = RECORD .. id
  local r = redis.call('HMGET', key,
    'status', 'v', 'created', 'priority', 'cost', 'rows', 'seq', 'start_within_ms')
  if r[1] ~= 'queued' then return end -- canceled, forgotten, or a second copy of its message
  if tonumber(r[2]) > version then
    newer[#newer + 1] = {KEYS[index], message}
    return
  end
  count(counters, r[4], r[5], -1)
  redis.call('HSET', counters, 'out:' .. r[4], r[7])
  if r[8] and now > r[3] + r[8] then
    return finalize(id, 'queued', 'expired', now)
  end
  local fence = redis.call('HINCRBY', key, 'fence', 1)
  redis.call('HINCRBY', key, 'attempt', 1)
  redis.call('HSET', key, 'status', 'running', 'worker', worker, 'started', now)
  redis.call('ZADD', leases, now + lease_ms, id)
  move(id, 'queued', 'running')
  wanted = wanted - r[6]
  claimed[#claimed + 1] = {index - 5, message, id, fence, r[6], redis.call('HGET', key, 'request')}
end

for index = 5, #KEYS do
  while wanted > 0 and looked < MOST_LOOKED_AT do
    local message = redis.call('RPOP', KEYS[index])
    if not message then break end
    looked = looked + 1
    local id = id_of(message)
    if id then take(index, message, id) else redis.call('LPUSH', dead, message) end
  end
end

local left = 0
for index = 5, #KEYS do left = left + redis.call('LLEN', KEYS[index]) end
if left > 0 then wake_one(wake) end
for _, pair in ipairs(newer) do redis.call('LPUSH', pair[1], pair[2]) end
return claimed
