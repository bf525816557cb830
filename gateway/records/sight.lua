-- Count what is open, for metrics.
-- KEYS: open, created, processing, open-bytes, webhooks
-- Returns {open, processing, bytes, age of the oldest open task in ms, webhooks}
local oldest = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
return {
  redis.call('ZCARD', KEYS[1]), redis.call('SCARD', KEYS[3]), tonumber(redis.call('GET', KEYS[4]) or 0),
  oldest and math.max(0, now - oldest) or 0, redis.call('ZCARD', KEYS[5]),
}
