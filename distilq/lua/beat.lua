-- Note that a worker is alive, and what it says of itself.
-- KEYS: the worker's state, the list of workers
-- ARGV: worker, state, seconds that the state is kept, ms after which others are dropped from the list
local now = now_ms()
write_even_if_full()
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[4])
return 1
