-- Withdraw a correction. A row that is in no batch yet is never stored; for any other, a second row withdraws it.
-- KEYS: correction, held
-- ARGV: id, retention in ms
-- Returns 1, or 0 if there is no correction.
local known = redis.call('HMGET', KEYS[1], 'state', 'created', 'of', 'author')
if not known[1] then return 0 end
if known[1] ~= 'held' and known[1] ~= 'stored' then return 1 end
local last = redis.call('HGET', known[3], known[4])
if last and string.find(last, ARGV[1] .. ' ', 1, true) == 1 then redis.call('HDEL', known[3], known[4]) end
local at = math.max(now, tonumber(known[2])) -- the clock of Redis may have been set back
if redis.call('ZREM', KEYS[2], ARGV[1]) == 1 then
  redis.call('HDEL', KEYS[1], 'text')
  redis.call('HSET', KEYS[1], 'state', 'withdrawn', 'withdrawn', at)
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
else
  redis.call('HSET', KEYS[1], 'state', 'withdrawing', 'withdrawn', at)
  redis.call('PERSIST', KEYS[1])
  redis.call('ZADD', KEYS[2], now, ARGV[1] .. '/withdrawn')
end
return 1
