-- Write a new record and open it, unless the Idempotency-Key is known or too much is open.
-- KEYS: open, created, processing, open-bytes, record, hints, [idempotency]
-- ARGV: id, most open tasks, most open bytes, bytes of the texts, retention in ms, hash of the payload, then field, value, …
-- Returns {outcome, id, created, hints in the queue}; outcome: accepted, repeated, conflict, full.
local hints = redis.call('LLEN', KEYS[6])
if KEYS[7] then
  local known = redis.call('GET', KEYS[7])
  if known then
    local id, payload = string.match(known, '^(%S+) (%S+)$')
    if payload ~= ARGV[6] then return {'conflict', id, '0', hints} end
    return {'repeated', id, redis.call('HGET', 'task:' .. id, 'created') or tostring(now), hints}
  end
end
local created = redis.call('HGET', KEYS[5], 'created')
if created then return {'accepted', ARGV[1], created, hints} end -- sent twice, because the first answer was lost
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return {'full', 'tasks', '0', hints} end
if tonumber(redis.call('GET', KEYS[4]) or 0) + tonumber(ARGV[4]) > tonumber(ARGV[3]) then return {'full', 'bytes', '0', hints} end

redis.call('HSET', KEYS[5], 'state', 'pending', 'created', now, 'bytes', ARGV[4], unpack(ARGV, 7))
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('INCRBY', KEYS[4], ARGV[4])
if KEYS[7] then redis.call('SET', KEYS[7], ARGV[1] .. ' ' .. ARGV[6], 'PX', ARGV[5]) end
return {'accepted', ARGV[1], tostring(now), hints}
