-- Forget a batch that is stored, and write the object's key into its corrections. Without effect if another flusher has done so.
-- KEYS: batch
-- ARGV: number of the batch, key of the object, retention in ms
-- Returns the number of corrections in it, without withdrawals; -1 if it had no effect.
local known = redis.call('HMGET', KEYS[1], 'number', 'rows')
if known[1] ~= ARGV[1] then return -1 end
redis.call('DEL', KEYS[1])
local corrections = 0
for row in string.gmatch(known[2], '%S+') do
  local id, withdrawn = string.match(row, '^([^/]+)(.*)$')
  local record = 'correction:' .. id
  if withdrawn ~= '' then
    redis.call('HDEL', record, 'text')
    redis.call('HSET', record, 'state', 'withdrawn', 'withdrawal_key', ARGV[2])
    redis.call('PEXPIRE', record, ARGV[3])
  else
    corrections = corrections + 1
    redis.call('HSET', record, 'key', ARGV[2], 'stored', now)
    if redis.call('HGET', record, 'state') == 'held' then
      redis.call('HSET', record, 'state', 'stored')
      redis.call('PEXPIRE', record, ARGV[3])
    end
  end
end
return corrections
