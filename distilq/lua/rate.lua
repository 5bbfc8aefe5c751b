-- Take jobs from a key's quota, or none: the generic cell rate algorithm (ITU-T I.371, Annex A, as
-- virtual scheduling), which keeps one number and lets nobody have twice the quota around the edge
-- of a window.
-- KEYS: the time in microseconds at which the quota is whole again
-- ARGV: jobs, quota, its window in s
-- Returns {1 if they were taken, jobs left, microseconds until it is whole again, microseconds until
-- these jobs can be had}.
local jobs, quota, window = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] * 1e6
local t = redis.call('TIME')
local now = t[1] * 1e6 + t[2]
local whole = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
whole = math.min(whole, now + window) -- a clock that was set back locks nobody out

local function answer(taken, early)
  -- The thousandth makes good what a double of this size rounds away.
  local left = math.floor((now + window - whole) * quota / window + 0.001)
  return {taken, left, math.ceil(whole - now), math.ceil(early)}
end

local after = whole + jobs * window / quota
local early = after - window - now
if early >= 1 then return answer(0, early) end
write_even_if_full()
redis.call('SET', KEYS[1], string.format('%.17g', after), 'PX', math.ceil((after - now) / 1000) + 1)
whole = after
return answer(1, 0)
