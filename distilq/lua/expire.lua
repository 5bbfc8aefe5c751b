-- Expire a queued job whose start_within_s has passed; 1 if it has.
-- ARGV: id
write_even_if_full()
return expire(ARGV[1], now_ms())
