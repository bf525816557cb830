-- Count the held rows, for metrics.
-- KEYS: corrected
-- Returns {classifier, rows, age of the oldest row in ms, classifier, …}
local found = {}
for _, classifier in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local batch = redis.call('HMGET', 'batch:' .. classifier, 'size', 'oldest')
  local oldest = batch[2] or redis.call('ZRANGE', 'held:' .. classifier, 0, 0, 'WITHSCORES')[2] or now
  found[#found + 1] = classifier
  found[#found + 1] = redis.call('ZCARD', 'held:' .. classifier) + (batch[1] or 0)
  found[#found + 1] = math.max(0, now - oldest)
end
return found
