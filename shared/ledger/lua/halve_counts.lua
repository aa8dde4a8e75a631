-- Forget half of what was counted, where it is much: what is new is to weigh more than what is old.
-- KEYS[1] hash; ARGV[1] how the names of its fields begin, ARGV[2] much
local fields, sum = {}, 0
local counts = redis.call('HGETALL', KEYS[1])
for at = 1, #counts, 2 do
  if string.sub(counts[at], 1, #ARGV[1]) == ARGV[1] then
    fields[counts[at]] = tonumber(counts[at + 1])
    sum = sum + fields[counts[at]]
  end
end
if sum <= tonumber(ARGV[2]) then return 0 end
for field, count in pairs(fields) do
  if count < 2 then
    redis.call('HDEL', KEYS[1], field)
  else
    redis.call('HSET', KEYS[1], field, math.floor(count / 2))
  end
end
return 1
