-- Know an idempotency key, if it is not known (uses parts/leaves.lua) (uses parts/known_keys.lua).
-- KEYS[1] all keys, KEYS[2] this one in an earlier version; ARGV[1] name, ARGV[2] what it is to hold, ARGV[3] since
-- Answers '', or what it holds already.
local first, leaf = known(KEYS[1], KEYS[2], ARGV[1], ARGV[3])
if first then return first end
if not is_over(ARGV[1] .. ARGV[2], ARGV[3]) then keep_key(KEYS[1], ARGV[1], ARGV[2], ARGV[3], leaf) end
return ''
