-- Write a new job down, once (uses parts/leaves.lua) (uses parts/known_keys.lua).
-- KEYS[1] record, KEYS[2] idempotency keys, KEYS[3] this one in an earlier version, further KEYS by index from the writes;
-- the last is the bell
-- ARGV[1] record, ARGV[2] name of the idempotency key ('': there is none), ARGV[3] what it is to hold, ARGV[4] since,
-- ARGV[5] writes, ARGV[6] number of the mark's key where the ledger must be known to be whole, or 0
-- Answers the value that the idempotency key had, or '' where the job is (or already was) written; 'unmarked' or
-- 'elsewhere', and nothing is written, where the key may have been lost with another server.
if redis.call('EXISTS', KEYS[1]) == 1 then return '' end
local keyed, bell, leaf = ARGV[2] ~= '', KEYS[#KEYS], nil
if keyed then
  local first
  first, leaf = known(KEYS[2], KEYS[3], ARGV[2], ARGV[4])
  if first then return first end
  if ARGV[6] ~= '0' then
    local marked = redis.call('HGET', KEYS[tonumber(ARGV[6])], 'server')
    if not marked then return 'unmarked' end
    local info = redis.pcall('INFO', 'server')
    local run_id = type(info) == 'string' and string.match(info, 'run_id:(%w+)')
    if run_id and string.sub(marked, 1, #run_id) ~= run_id then return 'elsewhere' end
  end
end
-- The key and the record come last: where a user may not do all of this, no job is half there, and no key names one.
for _, write in ipairs(cjson.decode(ARGV[5])) do
  redis.call(write[1], KEYS[write[2]], unpack(write, 3))
end
if keyed then keep_key(KEYS[2], ARGV[2], ARGV[3], ARGV[4], leaf) end
redis.call('SET', KEYS[1], ARGV[1])
-- It is written: a wake-up that may not be sent (an ACL without the channel) must not make that an error.
if redis.pcall('SET', bell, '', 'NX', 'PX', '1000') then redis.pcall('PUBLISH', bell, '') end
return ''
