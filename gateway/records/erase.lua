-- Remove a task with its texts and its answer.
-- KEYS: open, created, processing, open-bytes, record, webhooks
-- ARGV: id, channel
-- Returns 1, or 0 if there is no record.
local known = redis.call('HMGET', KEYS[5], 'state', 'bytes')
if not known[1] then return 0 end
redis.call('DEL', KEYS[5])
if redis.call('ZREM', KEYS[1], ARGV[1]) == 1 then redis.call('DECRBY', KEYS[4], known[2]) end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('SREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[6], ARGV[1])
redis.call('PUBLISH', ARGV[2], ARGV[1])
return 1
