-- A callback came: remember it, and look at the job now.
-- KEYS[1] record, KEYS[2] due and KEYS[3] leased of the gateway's poll lane
-- ARGV[1] job id, ARGV[2] nudge, ARGV[3] now
-- Answers 'unknown', 'ended' or 'noted'. A repeat while the first still waits writes nothing; while a worker is asking
-- it does, for the question may have been put before this news.
local old = redis.call('GET', KEYS[1])
if not old then return 'unknown' end
local version, operation, tries, live, held, body = string.match(old, '^(%d+) (%S+) (%d+) (%d) (%S+)\n(.*)$')
if live == '0' then return 'ended' end
if held == ARGV[2] then return 'noted' end -- the same call, sent again because its answer was lost
local at, attempt, task = string.match(ARGV[2], '^(%d+):(%d+):(%S*)$')
local held_attempt, held_task = string.match(held, '^%d+:(%d+):(%S*)$')
if held_attempt then
  -- what was learned of this attempt, or of a later one, is not forgotten
  if tonumber(held_attempt) > tonumber(attempt) or (held_attempt == attempt and task == '') then
    attempt, task = held_attempt, held_task
  end
  local same = held_attempt == attempt and held_task == task
  if same and not redis.call('ZSCORE', KEYS[3], ARGV[1]) then return 'noted' end
end
local hint = string.format('%s:%s:', at, attempt) .. task
redis.call('SET', KEYS[1], string.format('%d %s %d %s %s\n', version + 1, operation, tries, live, hint) .. body)
if redis.call('ZSCORE', KEYS[2], ARGV[1]) then
  redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
  redis.call('PUBLISH', 'rushes:bell', '')
end
return 'noted'
