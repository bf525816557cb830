-- Lease the webhook that has been due for longest.
-- KEYS: webhooks
-- ARGV: lease in ms, longest time in ms until which a webhook may be due, then the names of fields
-- Returns nil, or {id, number of this attempt, ms since the outcome, address, request id, value, …}
for _ = 1, 100 do
  local id = next_due(KEYS[1], ARGV[2])
  if not id then return nil end
  local record = 'task:' .. id
  redis.call('ZREM', KEYS[1], id)
  local known = redis.call('HMGET', record, 'webhook', 'request_id', 'finished')
  if known[1] then -- otherwise the record is gone
    redis.call('ZADD', KEYS[1], now + ARGV[1], id)
    local attempt = redis.call('HINCRBY', record, 'webhook_attempts', 1)
    return {id, attempt, now - known[3], known[1], known[2], unpack(redis.call('HMGET', record, unpack(ARGV, 3)))}
  end
end
return nil
