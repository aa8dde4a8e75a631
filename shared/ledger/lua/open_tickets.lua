-- Open tickets: each once, by whoever comes first, and count the tries.
-- KEYS per ticket: leased, record
-- ARGV[1] operation, then per ticket: job id, lease on the ticket, new lease
-- Answers per ticket the record, or false where another holds the job or it has moved on.
local operation, opened = ARGV[1], {}

local function open(leased, name, id, lease, new_lease)
  local old = redis.call('GET', name)
  if not old then
    redis.call('ZREM', leased, id)
    return false
  end
  local version, last_operation, tries, rest = string.match(old, '^(%d+) (%S+) (%d+)(.*)$')
  if last_operation == operation then return old end
  local score = redis.call('ZSCORE', leased, id)
  if not score or tonumber(score) ~= tonumber(lease) then return false end
  local new = string.format('%d %s %d', version + 1, operation, tries + 1) .. rest
  redis.call('ZADD', leased, new_lease, id)
  redis.call('SET', name, new)
  return new
end

for number = 1, #KEYS / 2 do
  local at = number * 3 - 1
  opened[number] = open(KEYS[number * 2 - 1], KEYS[number * 2], ARGV[at], ARGV[at + 1], ARGV[at + 2])
end
return opened
