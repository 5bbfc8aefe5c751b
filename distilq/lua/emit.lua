-- Append to the streams of jobs what a step of the engine gave them.
-- ARGV: per job: id, fence, number of its last token, tokens
-- An entry of a claim that is no longer valid is dropped, as is one that is there already.
write_even_if_full()
for i = 1, #ARGV, 4 do
  local id, fence = ARGV[i], ARGV[i + 1]
  local status, current = unpack(redis.call('HMGET', RECORD .. id, 'status', 'fence'))
  if current == fence and (status == 'running' or status == 'canceling') then
    redis.pcall('XADD', EVENTS .. id, fence .. '-' .. ARGV[i + 2], 't', ARGV[i + 3])
  end
end
