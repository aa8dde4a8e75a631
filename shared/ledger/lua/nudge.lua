-- A callback came: remember it, and look at the job now.
-- KEYS[1] record, KEYS[2] due and KEYS[3] leased of the gateway's poll lane, KEYS[4] bell
-- ARGV[1] job id, ARGV[2] nudge, ARGV[3] now
-- Answers 'unknown', 'ended', 'strange' (nothing is written) or 'noted'. A repeat while the first still waits writes
-- nothing; while a worker is asking it does, for the gateway may have been asked before this callback.
local old = redis.call('GET', KEYS[1])
if not old then return 'unknown' end
local version, operation, tries, live, old_hint, rest = string.match(old, '^(%d+) (%S+) (%d+) (%d) (%S+)(.*)$')
if live == '0' then return 'ended' end
local at, attempt, parts = string.match(ARGV[2], '^(%d+):(%d+):(%S*)$')

-- Of an attempt that nobody wrote down, or naming another task than its attempt has.
local function strange()
  local task_id = string.match(parts, '^[^,]*')
  for number, known in string.gmatch(string.match(rest, '^ (%S+)\n') or '', '(%d+):([^,]*)') do
    if number == attempt then return task_id ~= '' and known ~= '' and known ~= task_id end
  end
  return true
end

if strange() then return 'strange' end
if old_hint == ARGV[2] then return 'noted' end -- the same call, sent again because its answer was lost
local old_attempt, old_parts = string.match(old_hint, '^%d+:(%d+):(%S*)$')
if old_attempt then
  -- what was learned of this attempt, or of a later one, is not forgotten
  if tonumber(old_attempt) > tonumber(attempt) or (old_attempt == attempt and parts == '') then
    attempt, parts = old_attempt, old_parts
  end
  local same = old_attempt == attempt and old_parts == parts
  if same and not redis.call('ZSCORE', KEYS[3], ARGV[1]) then return 'noted' end
end
local hint = string.format('%s:%s:', at, attempt) .. parts
redis.call('SET', KEYS[1], string.format('%d %s %d %s ', version + 1, operation, tries, live) .. hint .. rest)
if redis.call('ZSCORE', KEYS[2], ARGV[1]) then
  redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
  if redis.pcall('SET', KEYS[4], '', 'NX', 'PX', '1000') then redis.pcall('PUBLISH', KEYS[4], '') end
end
return 'noted'
