-- Write the outcome of a task. Only the first outcome is written; a task that was erased stays erased.
-- KEYS: open, created, processing, open-bytes, record, webhooks
-- ARGV: id, state, retention in ms, channel, then field, value, …
-- Returns 1, or 0 if there was an outcome, or no record.
local known = redis.call('HMGET', KEYS[5], 'state', 'bytes', 'webhook')
if known[1] ~= 'pending' and known[1] ~= 'processing' then return 0 end
redis.call('ZREM', KEYS[1], ARGV[1]) -- a removal first: then Redis lets the script write when its memory is full
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('SREM', KEYS[3], ARGV[1])
redis.call('DECRBY', KEYS[4], known[2])
redis.call('HSET', KEYS[5], 'state', ARGV[2], 'finished', now, unpack(ARGV, 5))
redis.call('PEXPIRE', KEYS[5], ARGV[3])
if known[3] then redis.call('ZADD', KEYS[6], now, ARGV[1]) end
redis.call('PUBLISH', ARGV[4], ARGV[1])
return 1
