-- Count the hints that are missing: for each task that is due there should be one in the queue, up to a number.
-- KEYS: open, sweep, hints
-- ARGV: ms between two sweeps, of all workers together; longest time in ms until which a task may be due; most hints in the queue
-- Returns the number, or -1 if a worker swept a moment ago. If the last sweep is in the future, the clock was set back.
local last = tonumber(redis.call('GET', KEYS[2]) or 0)
if last <= now and now - last < tonumber(ARGV[1]) then return -1 end
redis.call('SET', KEYS[2], now)
local due = redis.call('ZCOUNT', KEYS[1], '-inf', now) + redis.call('ZCOUNT', KEYS[1], '(' .. now + ARGV[2], '+inf')
return math.max(0, math.min(due, tonumber(ARGV[3])) - redis.call('LLEN', KEYS[3]))
