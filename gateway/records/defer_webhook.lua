-- Make a webhook due later. Without effect if it was removed, or if another attempt has begun since.
-- KEYS: webhooks, record
-- ARGV: id, number of the attempt, delay in ms
-- Returns 1, or 0 if it had no effect.
if redis.call('HGET', KEYS[2], 'webhook_attempts') ~= ARGV[2] then return 0 end
return redis.call('ZADD', KEYS[1], 'XX', 'CH', now + ARGV[3], ARGV[1])
