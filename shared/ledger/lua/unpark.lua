-- Bring lines of jobs that wait for the end of a pause back to their places, whole.
-- KEYS[1] due and KEYS[2] parked (of a line: with `:` and its name behind), KEYS[3] parked lines, KEYS[4] later
-- ARGV[1] how many lines
-- Answers how many there were.
local lines = redis.call('ZRANGE', KEYS[3], 0, ARGV[1] - 1)
for _, line in ipairs(lines) do
  local due, parked = KEYS[1] .. ':' .. line, KEYS[2] .. ':' .. line
  redis.call('ZUNIONSTORE', due, 2, due, parked, 'AGGREGATE', 'MIN')
  redis.call('DEL', parked)
  redis.call('ZREM', KEYS[3], line)
  local first = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')[2]
  if first then redis.call('ZADD', KEYS[4], 'LT', first, line) end
end
return #lines
