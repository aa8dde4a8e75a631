-- Write a new batch and its jobs down, once: all of them, or nothing (uses parts/leaves.lua) (uses parts/known_keys.lua).
-- KEYS[1] record of the batch, KEYS[2] idempotency keys, KEYS[3] this one in an earlier version, then the records of the
-- jobs, further KEYS by index from the writes; the last is the bell
-- ARGV[1] record of the batch, ARGV[2] name of the idempotency key ('': there is none), ARGV[3] what it is to hold,
-- ARGV[4] since, ARGV[5] writes, ARGV[6] number of the mark's key where the ledger must be known to be whole, or 0, then the
-- records of the jobs
-- Answers as create.lua does.
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
for _, write in ipairs(cjson.decode(ARGV[5])) do
  local holds = true
  if write[1] == 'WHEN' then -- field, value, command: carried out only where the counter has come to this
    holds = redis.call('HGET', KEYS[write[2]], write[3]) == write[4]
    write = write[5]
  end
  if holds then redis.call(write[1], KEYS[write[2]], unpack(write, 3)) end
end
for number = 7, #ARGV do redis.call('SET', KEYS[number - 3], ARGV[number]) end
-- The record of the batch comes last: it says that all the rest is there.
if keyed then keep_key(KEYS[2], ARGV[2], ARGV[3], ARGV[4], leaf) end
redis.call('SET', KEYS[1], ARGV[1])
if redis.pcall('SET', bell, '', 'NX', 'PX', '1000') then redis.pcall('PUBLISH', bell, '') end
return ''
