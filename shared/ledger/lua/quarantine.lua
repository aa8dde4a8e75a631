-- Keep a callback that named another task, within bounds.
-- KEYS[1] those kept, KEYS[2] when each came, KEYS[3] how many came
-- ARGV[1] id, ARGV[2] what came, ARGV[3] now, ARGV[4] job id, ARGV[5] gateway,
-- ARGV[6] most of a job, ARGV[7] most in all, ARGV[8] those that came up to then are forgotten
-- Answers 1 where this call kept it, 0 where it was kept before or the job has its share. Over all the oldest give way.
local kept = redis.call('HGET', KEYS[1], ARGV[1])
if kept then return kept == ARGV[2] and 1 or 0 end
redis.call('HINCRBY', KEYS[3], ARGV[5], 1)

local function forget(ids)
  for _, id in ipairs(ids) do
    redis.call('HDEL', KEYS[1], id)
    redis.call('ZREM', KEYS[2], id)
  end
end

forget(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[8]))
local ids, of_this_job = redis.call('ZRANGE', KEYS[2], 0, -1), 0
for _, id in ipairs(ids) do
  if string.sub(id, 1, #ARGV[4]) == ARGV[4] then of_this_job = of_this_job + 1 end
end
if of_this_job >= tonumber(ARGV[6]) then return 0 end
if #ids >= tonumber(ARGV[7]) then forget(redis.call('ZRANGE', KEYS[2], 0, #ids - ARGV[7])) end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
return 1
