-- Open a ticket: once, by whoever comes first, and count the try.
-- KEYS[1] leased, KEYS[2] record
-- ARGV[1] job id, ARGV[2] lease on the ticket, ARGV[3] new lease, ARGV[4] operation
-- Answers the record, or false where another holds the job or it has moved on.
local old = redis.call('GET', KEYS[2])
if not old then
  redis.call('ZREM', KEYS[1], ARGV[1])
  return false
end
local version, operation, tries, live, nudge, body = string.match(old, '^(%d+) (%S+) (%d+) (%d) (%S+)\n(.*)$')
if operation == ARGV[4] then return old end
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) ~= tonumber(ARGV[2]) then return false end
local new = string.format('%d %s %d %s %s\n', version + 1, ARGV[4], tries + 1, live, nudge) .. body
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
redis.call('SET', KEYS[2], new)
return new
