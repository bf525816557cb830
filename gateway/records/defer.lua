-- Give a leased task back, due later. Without effect if the lease has expired and another worker claimed the task.
-- KEYS: open, created, processing, open-bytes, record
-- ARGV: id, number of the claim, delay in ms, failures to add
-- Returns 1, or 0 if it had no effect.
local known = redis.call('HMGET', KEYS[5], 'state', 'claims')
if known[1] ~= 'processing' or known[2] ~= ARGV[2] then return 0 end
redis.call('SREM', KEYS[3], ARGV[1])
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('HSET', KEYS[5], 'state', 'pending')
redis.call('HINCRBY', KEYS[5], 'failures', ARGV[4])
return 1
