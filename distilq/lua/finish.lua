-- Give claimed jobs their outcomes and end their leases.
-- ARGV: slug, then per job: id, fence, status, generated tokens, how many values follow, fields with
--       values of the record
-- Returns per job 1, also when this very claim has finished it before; 0 if the claim is no longer
-- valid.
local slug = ARGV[1]
local now, written, ended, tokens, answers = now_ms(), 0, {}, 0, {}

local function finish(id, fence, to, generated, ...)
  local status, current, ttl, watchers, owner, streams, hook = unpack(redis.call('HMGET',
    RECORD .. id, 'status', 'fence', 'ttl_ms', 'watchers', 'owner', 'stream', 'hook'))
  if current ~= fence then return 0 end
  if FINAL[status] then return 1 end
  if status ~= 'running' and status ~= 'canceling' then return 0 end
  redis.call('ZREM', of_model(slug, 'leases'), id)
  finalize_with(id, status, to, now, ttl, watchers, owner, streams, hook,
    'tokens_done', generated, ...)
  written, tokens = written + 1, tokens + generated
  ended[to] = (ended[to] or 0) + 1
  return 1
end

local i = 2
while i <= #ARGV do
  local n = tonumber(ARGV[i + 4])
  answers[#answers + 1] =
    finish(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], unpack(ARGV, i + 5, i + 4 + n))
  i = i + 5 + n
end

if written > 0 then
  for to, jobs in pairs(ended) do count_end(slug, to, jobs) end
  redis.call('HINCRBY', TOTALS, 'generated_tokens', tokens)
  local bucket = of_model(slug, 'drain:' .. math.floor(now / 1000 / DRAIN_BUCKET_S))
  redis.call('INCRBY', bucket, written)
  redis.call('EXPIRE', bucket, DRAIN_BUCKET_S * DRAIN_BUCKETS)
  forget(now, 2 * written)
end
return answers
