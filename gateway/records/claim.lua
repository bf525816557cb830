-- Lease the open task that has been due for longest.
-- KEYS: open, created, processing, open-bytes
-- ARGV: lease in ms, longest time in ms until which a task may be due
-- Returns nil, or {id, number of this claim, failures, whether a lease expired, age in ms, field, value, …}
-- Each round begins with a removal, which Redis allows even when its memory is full; then the script may write.
for _ = 1, 100 do
  local id = next_due(KEYS[1], ARGV[2])
  if not id then return nil end
  local record = 'task:' .. id
  redis.call('ZREM', KEYS[1], id)
  local state = redis.call('HGET', record, 'state')
  if state == 'pending' or state == 'processing' then
    local expired = state == 'processing' and 1 or 0
    redis.call('ZADD', KEYS[1], now + ARGV[1], id)
    redis.call('SADD', KEYS[3], id)
    redis.call('HSET', record, 'state', 'processing')
    local claim = redis.call('HINCRBY', record, 'claims', 1)
    local failures = redis.call('HINCRBY', record, 'failures', expired)
    local age = now - redis.call('HGET', record, 'created')
    local fields = redis.call('HMGET', record, 'classifier', 'texts', 'request_id')
    return {id, claim, failures, expired, age, unpack(fields)}
  end
end
return nil
