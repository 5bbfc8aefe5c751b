-- Let workers take jobs of a priority again.
-- ARGV: slug, priority
write_even_if_full()
redis.call('SREM', of_model(ARGV[1], 'paused'), ARGV[2])
wake_one(ARGV[1], ARGV[2])
return 1
