-- What every script begins with.
-- now: milliseconds since 1970, by the clock of Redis, because the clocks of API and workers may be wrong.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Return the member of a sorted set that has been due for longest, or nil. latest: longest time in ms until which one may be due.
local function next_due(key, latest)
  local due = redis.call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, 1)
  if #due > 0 then return due[1] end
  -- Due later than anything is ever scheduled: the clock of Redis was set back.
  return redis.call('ZRANGEBYSCORE', key, '(' .. now + latest, '+inf', 'LIMIT', 0, 1)[1]
end

