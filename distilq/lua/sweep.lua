-- Take the jobs whose lease has lapsed from their dead worker and queue them again, in front.
-- KEYS: leases, counters, wake
-- ARGV: deaths that make a job poisoned, its error, message with @id@ and @queue@,
--       then per priority: name, queue
-- Returns how many leases had lapsed.
local now, most, message = now_ms(), tonumber(ARGV[1]), ARGV[3]
local queues = {}
for i = 4, #ARGV, 2 do queues[ARGV[i]] = ARGV[i + 1] end

local lapsed = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 100)
local seq = {}
write_even_if_full()
for _, id in ipairs(lapsed) do seq[id] = tonumber(redis.call('HGET', RECORD .. id, 'seq') or 0) end
table.sort(lapsed, function(a, b) return seq[a] > seq[b] end) -- the oldest last, so in front
for _, id in ipairs(lapsed) do
  local key = RECORD .. id
  local status, priority, cost = unpack(redis.call('HMGET', key, 'status', 'priority', 'cost'))
  redis.call('ZREM', KEYS[1], id)
  if status == 'canceling' then
    finalize(id, status, 'canceled', now)
  elseif status == 'running' then
    if redis.call('HINCRBY', key, 'deaths', 1) >= most then
      redis.call('HSET', key, 'error', ARGV[2])
      finalize(id, status, 'failed', now)
    else
      redis.call('HSET', key, 'status', 'queued')
      redis.call('HDEL', key, 'worker', 'started', 'tokens_done', 'sequences_done')
      move(id, 'running', 'queued')
      count(KEYS[2], priority, cost, 1)
      redis.call('RPUSH', queues[priority],
        (message:gsub('@id@', id):gsub('@queue@', queues[priority])))
      wake_one(KEYS[3])
    end
  elseif not status then -- somebody has deleted the record
    redis.call('ZREM', INDEX .. 'running', id)
    redis.call('ZREM', INDEX .. 'canceling', id)
  end
end
return #lapsed
