-- Hold the entries of one job against its record, and put them right if asked to.
-- KEYS[1] record, KEYS[2] the index where it belongs, KEYS[3] names of indexes, KEYS[4] bell, then the sets of its labels,
-- then every place where it may stand: the due set of its lane first, leased sets last; no place for a job that owes
-- nothing more
-- ARGV[1] version that was looked at, ARGV[2] job id, ARGV[3] when it is due, ARGV[4] repair: 1|0, ARGV[5] how many labels;
-- of a job in line also ARGV[6] its line and ARGV[7] its tenant, and the last two keys are `later` and `lines`, one of
-- which knows the line (claim.lua)
-- Answers the problems: nowhere, twice, unindexed, unlined. Nothing where the record has moved on: then it is looked at again.
local old = redis.call('GET', KEYS[1])
if not old or string.match(old, '^%d+') ~= ARGV[1] then return {} end
local id, repair, problems, standing, line = ARGV[2], ARGV[4] == '1', {}, {}, ARGV[6]
local first, last = 5 + ARGV[5], line and #KEYS - 2 or #KEYS
local later, lines = KEYS[last + 1], KEYS[last + 2]
for place = first, last do
  if redis.call('ZSCORE', KEYS[place], id) then standing[#standing + 1] = KEYS[place] end
end
local unindexed = not redis.call('ZSCORE', KEYS[2], id)
for label = 5, first - 1 do unindexed = unindexed or not redis.call('ZSCORE', KEYS[label], id) end
local nowhere = last >= first and #standing == 0
if unindexed then problems[#problems + 1] = 'unindexed' end
if nowhere then problems[#problems + 1] = 'nowhere' end
if #standing > 1 then problems[#problems + 1] = 'twice' end
local unlined = line and standing[1] == KEYS[first] and not redis.call('ZSCORE', later, line)
  and redis.call('HEXISTS', lines, ARGV[7]) == 0
if unlined then problems[#problems + 1] = 'unlined' end
if not repair then return problems end
if line and (unlined or nowhere) then redis.call('ZADD', later, 'LT', ARGV[3], line) end
if unindexed then
  redis.call('ZADD', KEYS[2], 0, id)
  redis.call('SADD', KEYS[3], KEYS[2])
  for label = 5, first - 1 do redis.call('ZADD', KEYS[label], 0, id) end
end
if nowhere then
  redis.call('ZADD', KEYS[first], ARGV[3], id)
  redis.pcall('PUBLISH', KEYS[4], '')
end
for place = 1, #standing - 1 do redis.call('ZREM', standing[place], id) end -- a lease stays: somebody may hold it
return problems
