-- Lease the batch of a classifier. If there is none, make one of the oldest rows, once they are many or old enough.
-- KEYS: held, batch, batches
-- ARGV: lease in ms, most rows, most bytes, age in ms of the oldest row from which a batch is made
-- Returns nil, or {number, row, text, fields, created, withdrawn, row, …}
-- The first write is a removal, which Redis allows even when its memory is full; then the script may write.
local rows = {}
local known = redis.call('HMGET', KEYS[2], 'rows', 'until')
if known[1] then
  local left = tonumber(known[2] or 0) - now
  if left > 0 and left <= tonumber(ARGV[1]) then return nil end -- longer than a lease: the clock of Redis was set back
  for row in string.gmatch(known[1], '%S+') do rows[#rows + 1] = row end
  redis.call('HDEL', KEYS[2], 'until')
else
  local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  if not oldest[1] then return nil end
  local age = now - oldest[2]
  if redis.call('ZCARD', KEYS[1]) < tonumber(ARGV[2]) and age >= 0 and age < tonumber(ARGV[4]) then return nil end
  local bytes = 0
  for _, row in ipairs(redis.call('ZRANGE', KEYS[1], 0, ARGV[2] - 1)) do
    local record = 'correction:' .. string.match(row, '^[^/]+')
    bytes = bytes + redis.call('HSTRLEN', record, 'text') + redis.call('HSTRLEN', record, 'fields')
    if #rows > 0 and bytes > tonumber(ARGV[3]) then break end
    rows[#rows + 1] = row
  end
  redis.call('ZREM', KEYS[1], unpack(rows))
  redis.call('HSET', KEYS[2], 'number', redis.call('INCR', KEYS[3]), 'rows', table.concat(rows, ' '), 'size', #rows, 'oldest', oldest[2])
end
redis.call('HSET', KEYS[2], 'until', now + ARGV[1])
local found = {redis.call('HGET', KEYS[2], 'number')}
for _, row in ipairs(rows) do
  found[#found + 1] = row
  for _, value in ipairs(redis.call('HMGET', 'correction:' .. string.match(row, '^[^/]+'), 'text', 'fields', 'created', 'withdrawn')) do
    found[#found + 1] = value or ''
  end
end
return found
