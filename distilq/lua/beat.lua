-- Note that a worker is alive, what it says of itself, and what it has observed.
-- KEYS: the worker's state, the list of workers, the histograms, the mark that it is drained
-- ARGV: worker, state, seconds that the state is kept, seconds after which others are dropped from the list
--       and their mark is, then fields of the histograms with what to add to each
local now = now_ms()
write_even_if_full()
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[4] * 1000)
redis.call('EXPIRE', KEYS[4], ARGV[4])
for i = 5, #ARGV, 2 do redis.call('HINCRBY', KEYS[3], ARGV[i], ARGV[i + 1]) end
return 1
