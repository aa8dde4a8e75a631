-- Give a ledger of an earlier version, whose keys had no hash tag, its new names: all in one step, so that nobody ever
-- finds half of it, and a crash leaves either all of it or nothing.
-- KEYS[1] names of indexes, KEYS[2] mark, KEYS[3] afterlooks, KEYS[4] a key for this alone
-- ARGV[1] how the old names begin, ARGV[2] how the new ones do, ARGV[3] what stays in place of the old ledger,
-- ARGV[4] when the journal is to be compared, ARGV[5] since when it is read
-- Answers 'none', 'moved' (by this call), 'both' (nothing is done) or 'unseen: ...' (the old names may not be read).
local old_indexes, old_mark, old_spare = ARGV[1] .. 'indexes', ARGV[1] .. 'mark', ARGV[1] .. 'check'
local indexes, mark = redis.pcall('TYPE', old_indexes), redis.pcall('TYPE', old_mark)
for _, kind in ipairs({indexes, mark}) do
  if kind.err then return 'unseen: ' .. kind.err end
end
if indexes.ok ~= 'set' and mark.ok ~= 'hash' then return 'none' end
if redis.call('EXISTS', KEYS[1], KEYS[2]) > 0 then return 'both' end
if redis.replicate_commands then redis.replicate_commands() end -- Redis 6.2, if it is told to send scripts to replicas

-- What is not allowed, or not possible now, must show before the first key is moved.
redis.call('SADD', KEYS[4], '')
redis.call('RENAME', KEYS[4], old_spare)
redis.call('SET', old_spare, '')
redis.call('DEL', old_spare)

-- Calls that are out now come back to processes of the earlier version, which write their outcome to the journal only.
redis.call('HSET', KEYS[3], ARGV[4], ARGV[5])
for _, name in ipairs(redis.call('SMEMBERS', old_indexes)) do
  redis.call('SADD', KEYS[1], ARGV[2] .. string.sub(name, #ARGV[1] + 1))
end
redis.call('DEL', old_indexes)
local cursor = '0'
repeat
  local page = redis.call('SCAN', cursor, 'MATCH', ARGV[1] .. '*', 'COUNT', 1000)
  cursor = page[1]
  for _, name in ipairs(page[2]) do
    redis.call('RENAME', name, ARGV[2] .. string.sub(name, #ARGV[1] + 1))
  end
until cursor == '0'
-- A process of the earlier version that still runs, or is started again, must not begin a second ledger: these are of
-- another type than it expects, so whatever would write a job fails.
redis.call('SET', old_indexes, ARGV[3])
redis.call('SET', old_mark, ARGV[3])
return 'moved'
