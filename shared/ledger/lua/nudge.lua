-- A callback came: remember it, and look at the job now.
-- KEYS[1] record, KEYS[2] due of the gateway's poll lane
-- ARGV[1] job id, ARGV[2] nudge, ARGV[3] now
-- Answers 'unknown', 'ended' or 'noted'. A repeat while the first still waits writes nothing.
local old = redis.call('GET', KEYS[1])
if not old then return 'unknown' end
local version, operation, tries, live, held, body = string.match(old, '^(%d+) (%S+) (%d+) (%d) (%S+)\n(.*)$')
if live == '0' then return 'ended' end
local _, waits = string.find(held, ':[^:]*:')
local _, comes = string.find(ARGV[2], ':[^:]*:')
if held ~= '-' and string.sub(held, waits) == string.sub(ARGV[2], comes) then return 'noted' end
redis.call('SET', KEYS[1], string.format('%d %s %d %s %s\n', version + 1, operation, tries, live, ARGV[2]) .. body)
if redis.call('ZSCORE', KEYS[2], ARGV[1]) then
  redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
  redis.call('PUBLISH', 'rushes:bell', '')
end
return 'noted'
