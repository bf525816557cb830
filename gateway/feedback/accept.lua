-- Write a new correction and hold its row, unless it repeats the author's latest one of this text, or too much is held.
-- KEYS: correction, corrections-of, held, corrected
-- ARGV: id, author, digest, classifier, most held rows, most corrections of the text, retention in ms, then field, value, …
-- Returns {outcome, id}; outcome: accepted, repeated, full, often.
if redis.call('EXISTS', KEYS[1]) == 1 then return {'accepted', ARGV[1]} end -- sent twice, because the first answer was lost
local last = redis.call('HGET', KEYS[2], ARGV[2])
if last then
  local id, digest = string.match(last, '^(%S+) (%S+)$')
  if digest == ARGV[3] then return {'repeated', id} end
end
if redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[5]) then return {'full', ''} end
if tonumber(redis.call('HGET', KEYS[2], '#') or 0) >= tonumber(ARGV[6]) then return {'often', ''} end

redis.call('HSET', KEYS[1], 'state', 'held', 'created', now, 'of', KEYS[2], 'author', ARGV[2], 'classifier', ARGV[4], unpack(ARGV, 8))
redis.call('HSET', KEYS[2], ARGV[2], ARGV[1] .. ' ' .. ARGV[3])
redis.call('HINCRBY', KEYS[2], '#', 1)
if redis.call('PTTL', KEYS[2]) < 0 then redis.call('PEXPIRE', KEYS[2], ARGV[7]) end
redis.call('ZADD', KEYS[3], now, ARGV[1])
redis.call('SADD', KEYS[4], ARGV[4])
return {'accepted', ARGV[1]}
