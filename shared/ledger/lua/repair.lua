-- Hold the entries of one job against its record, and put them right if asked to (uses parts/leaves.lua).
-- KEYS[1] record, KEYS[2] the index where it belongs, KEYS[3] names of indexes, KEYS[4] bell, then the sets of its labels,
-- then every place where it may stand: the due set of its lane first, leased sets last; no place for a job that owes
-- nothing more
-- ARGV[1] version that was looked at, ARGV[2] job id, ARGV[3] when it is due, ARGV[4] repair: 1|0, ARGV[5] how many labels;
-- of a job in line also ARGV[6] its line, ARGV[7] its tenant, ARGV[8] the line's priority and ARGV[9] what the claim knows
-- of it, and the last five keys are `later`, `lines`, `turns`, `capped` (claim.lua) and `queued`
-- Answers the problems: nowhere, twice, unindexed, unlined. Nothing where the record has moved on: then it is looked at again.
local old = redis.call('GET', KEYS[1])
if not old or string.match(old, '^%d+') ~= ARGV[1] then return {} end
local id, repair, problems, standing, line = ARGV[2], ARGV[4] == '1', {}, {}, ARGV[6]
local first, last = 5 + ARGV[5], line and #KEYS - 5 or #KEYS
local later, lines, turns, capped, queued = unpack(KEYS, last + 1)
for place = first, last do
  if redis.call('ZSCORE', KEYS[place], id) then standing[#standing + 1] = KEYS[place] end
end
local unlisted = not is_listed(KEYS[2], id)
local unindexed = unlisted
for label = 5, first - 1 do unindexed = unindexed or not redis.call('ZSCORE', KEYS[label], id) end
local nowhere = last >= first and #standing == 0
if unindexed then problems[#problems + 1] = 'unindexed' end
if nowhere then problems[#problems + 1] = 'nowhere' end
if #standing > 1 then problems[#problems + 1] = 'twice' end
-- A line has its turn once it is in `later`, or while its tenant takes turns or is set aside and this priority is noted.
local function is_known()
  if redis.call('ZSCORE', later, line) then return true end
  if not string.find(redis.call('HGET', lines, ARGV[7]) or '', ARGV[8], 1, true) then return false end
  return redis.call('ZSCORE', turns, ARGV[7]) or redis.call('ZSCORE', capped, ARGV[7])
end
local unlined = line and standing[1] == KEYS[first] and not (is_known() and redis.call('HGET', queued, id) == ARGV[9])
if unlined then problems[#problems + 1] = 'unlined' end
if not repair then return problems end
if line and (unlined or nowhere) then
  redis.call('ZADD', later, 'LT', ARGV[3], line)
  redis.call('HSET', queued, id, ARGV[9])
  -- Whoever is noted there and takes no turns is not let in again; without the note each of its lines is.
  if not redis.call('ZSCORE', turns, ARGV[7]) and not redis.call('ZSCORE', capped, ARGV[7]) then
    redis.call('HDEL', lines, ARGV[7])
  end
end
if unindexed then
  if unlisted then
    redis.call('ZADD', KEYS[2], 0, id)
    redis.call('SADD', KEYS[3], KEYS[2])
  end
  for label = 5, first - 1 do redis.call('ZADD', KEYS[label], 0, id) end
end
if nowhere then
  redis.call('ZADD', KEYS[first], ARGV[3], id)
  redis.pcall('PUBLISH', KEYS[4], '')
end
for place = 1, #standing - 1 do redis.call('ZREM', standing[place], id) end -- a lease stays: somebody may hold it
return problems
