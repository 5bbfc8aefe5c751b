-- Let no worker take jobs of a priority.
-- ARGV: slug, priority
write_even_if_full()
redis.call('SADD', of_model(ARGV[1], 'paused'), ARGV[2])
return 1
