-- Write what became of a job, if nobody was there first (uses parts/leaves.lua).
-- KEYS[1] record, further KEYS by index from the gates and the writes; the last is the bell
-- ARGV[1] version it was decided on, ARGV[2] operation, ARGV[3] new record ('' deletes it), ARGV[4] gates, ARGV[5] writes,
-- ARGV[6] wake the scheduler: 1|0
-- Answers {'done'}, {'gone'}, {'conflict', record} or {'shut', name of the gate, value}.
-- A call whose answer was lost is sent again: the operation in the header shows that it was done.
local old = redis.call('GET', KEYS[1])
if not old then return {'gone'} end
local version, operation = string.match(old, '^(%d+) (%S+) ')
if operation == ARGV[2] then return {'done'} end
if version ~= ARGV[1] then return {'conflict', old} end
local gates = cjson.decode(ARGV[4])
for _, gate in ipairs(gates) do
  local kind, key = gate[1], KEYS[gate[2]]
  if kind == 'lease' then -- member, score: the ticket is still ours
    local score = redis.call('ZSCORE', key, gate[3])
    if not score or tonumber(score) ~= gate[4] then return {'shut', kind, ''} end
  elseif kind == 'whole' then -- the mark names this server, where it names one (keys.py)
    local marked = redis.call('HGET', key, 'server') or ''
    local info = marked ~= '' and redis.pcall('INFO', 'server')
    local run_id = type(info) == 'string' and string.match(info, 'run_id:(%w+)')
    if run_id and string.sub(marked, 1, #run_id) ~= run_id then return {'shut', kind, ''} end
  elseif kind == 'pause' then -- now: the account is not paused, by itself or by an operator
    local paused, stopped = unpack(redis.call('HMGET', key, 'paused_until', 'stopped_until'))
    local until_ = math.max(tonumber(paused or '0'), tonumber(stopped or '0'))
    if until_ > gate[3] then return {'shut', kind, string.format('%.0f', until_)} end
  elseif kind == 'stop' then -- now: no operator has paused the gateway
    local stopped = redis.call('HGET', key, 'stopped_until')
    if tonumber(stopped or '0') > gate[3] then return {'shut', kind, stopped} end
  elseif kind == 'trial' then -- now: of an account that refused of late no other call is out
    local strikes, trial = unpack(redis.call('HMGET', key, 'strikes', 'trial_until'))
    if tonumber(strikes or '0') > 0 and tonumber(trial or '0') > gate[3] then return {'shut', kind, trial} end
  elseif kind == 'window' then -- limit, from: so many members at the most since then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', '(' .. gate[4])
    if redis.call('ZCARD', key) >= gate[3] then
      return {'shut', kind, redis.call('ZRANGE', key, '0', '0', 'WITHSCORES')[2] or ''}
    end
  elseif kind == 'month' then -- field, step, limit, days: what the days count together stays at or below the limit
    local sum = 0
    for _, day in ipairs(gate[6]) do sum = sum + tonumber(redis.call('HGET', KEYS[day], gate[3]) or '0') end
    if sum + gate[4] > gate[5] then return {'shut', kind, string.format('%.0f', sum)} end
  else -- field, step, limit: the counter stays at or below the limit
    local count = tonumber(redis.call('HGET', key, gate[3]) or '0')
    if count + gate[4] > gate[5] then return {'shut', kind, tostring(count)} end
  end
end

-- The claim charged the tenant what was known then (claim.lua). What the job counts for after all corrects that.
local function settle(charged, turns, tenants, id, tenant, cost)
  local had = redis.call('HGET', charged, id)
  if not had then return end
  redis.call('HDEL', charged, id)
  local share = tonumber(string.match(redis.call('HGET', tenants, tenant) or '', '^(%d+):') or '1000')
  local by = math.ceil(cost * 1000 / share) - math.ceil(tonumber(had) * 1000 / share)
  if by ~= 0 and redis.call('ZSCORE', turns, tenant) then redis.call('ZINCRBY', turns, string.format('%.0f', by), tenant) end
end

for _, write in ipairs(cjson.decode(ARGV[5])) do
  local holds = true
  if write[1] == 'WHEN' then -- field, value, command: carried out only where the counter has come to this
    holds = redis.call('HGET', KEYS[write[2]], write[3]) == write[4]
    write = write[5]
  end
  if write[1] == 'SETTLE' then
    settle(KEYS[write[2]], KEYS[write[3]], KEYS[write[4]], unpack(write, 5))
  elseif write[1] == 'LIST' then
    list(KEYS[write[2]], write[3])
  elseif write[1] == 'UNLIST' then
    unlist(KEYS[write[2]], write[3])
  elseif holds then
    redis.call(write[1], KEYS[write[2]], unpack(write, 3))
  end
end
if ARGV[3] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[3]) end
-- It is written: a wake-up that may not be sent (an ACL without the channel) must not make that an error.
local bell = KEYS[#KEYS]
if ARGV[6] == '1' and redis.pcall('SET', bell, '', 'NX', 'PX', '1000') then redis.pcall('PUBLISH', bell, '') end
return {'done'}
