-- Give a batch back that could not be stored. Without effect if it is no longer the classifier's batch.
-- KEYS: batch
-- ARGV: number of the batch, time in ms until it is tried again
if redis.call('HGET', KEYS[1], 'number') ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'until') -- a removal first: then Redis lets the script write when its memory is full
redis.call('HSET', KEYS[1], 'until', now + ARGV[2])
return 1
