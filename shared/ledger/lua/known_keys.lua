-- What idempotency keys hold (uses parts/leaves.lua) (uses parts/known_keys.lua).
-- KEYS[1] all keys, then each in an earlier version; ARGV[1] since, then their names. Answers '' for one that is not known.
local answer = {}
for at = 2, #KEYS do answer[at - 1] = known(KEYS[1], KEYS[at], ARGV[at], ARGV[1]) or '' end
return answer
