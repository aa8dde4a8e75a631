-- Take an entry away that no record stands behind (uses parts/leaves.lua).
-- KEYS[1] record, KEYS[2] set; ARGV[1] version that was looked at ('' where there was no record), ARGV[2] job id,
-- ARGV[3] repair: 1|0. Answers 1 where the entry is such, 0 where either has moved on.
local old = redis.call('GET', KEYS[1])
if (old and string.match(old, '^%d+') or '') ~= ARGV[1] or not is_listed(KEYS[2], ARGV[2]) then return 0 end
if ARGV[3] == '1' then unlist(KEYS[2], ARGV[2]) end
return 1
