-- Lease what is due: nothing is popped, a crash is a lease that ran out.
-- KEYS[1] in-flight, KEYS[2] bell, KEYS[3] queued, KEYS[4] tenants, KEYS[5] tenants in flight, then per lane: due, leased, and
-- for a submit lane gateway, parked, standby, parked lines, charged, for its own line and for standby each: later, waiting,
-- turns, lines, capped, and for each account health and window. The line of a tenant is `due:tenant:priority`, and so with
-- parked and standby.
-- ARGV[1] now, ARGV[2] lease ends, ARGV[3] window ms, ARGV[4] lanes as JSON: [[room, gateway, cap in flight, submits a window,
-- whether the jobs stand in line elsewhere: start deadlines, accounts]], ARGV[5] cost of a job without a price
-- Answers {when to come again or '', lane number, id, lane number, id, ...}.
local now, lease, span = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
-- What is handed to a command is text: Redis 6.2 prints a number with all its binary digits, which takes longer than most
-- commands do.
local NOW = ARGV[1]
local function whole(number) return string.format('%.0f', number) end

local answer, soonest = {''}, nil

local function come_again(at)
  at = tonumber(at)
  if at and (not soonest or at < soonest) then soonest = at end
end

local function lowest(key) return tonumber(redis.call('ZRANGE', key, '0', '0', 'WITHSCORES')[2]) end

-- Until when a gateway is paused: by an operator, or while all its accounts are, by their own answers.
local function paused_until(health, accounts)
  local first
  for _, account in ipairs(accounts) do
    local paused = tonumber(redis.call('HGET', account.health, 'paused_until') or '0')
    if not first or paused < first then first = paused end
  end
  return math.max(first or 0, tonumber(redis.call('HGET', health, 'stopped_until') or '0'))
end

-- What one account may be given now: jobs in flight more, jobs at all more, whether one job is to show that it is well
-- again; and when more, if that is known.
local function room_of(account, cap, rate)
  local paused, strikes, trial = unpack(redis.call('HMGET', account.health, 'paused_until', 'strikes', 'trial_until'))
  paused, strikes, trial = tonumber(paused or '0'), tonumber(strikes or '0'), tonumber(trial or '0')
  if paused > now then return 0, 0, strikes > 0, paused end
  redis.call('ZREMRANGEBYSCORE', account.window, '-inf', '(' .. whole(now - span))
  local left = rate - redis.call('ZCARD', account.window)
  if left <= 0 then return 0, 0, strikes > 0, (lowest(account.window) or now) + span + 1 end
  local places = cap - tonumber(redis.call('HGET', KEYS[1], account.label) or '0')
  if strikes == 0 then return places, math.min(left, places), false, nil end
  if trial > now then return 0, 0, true, trial end
  return places, math.min(1, left, places), true, nil
end

-- How many more jobs the accounts of a gateway may be given now; and when more, if that is known. Tickets that are out
-- take places too: no account is chosen for them yet.
local function allowance(accounts, out, cap, rate)
  local places, free, trials, well, opens = 0, 0, 0, false, nil
  for _, account in ipairs(accounts) do
    local more, given, on_trial, open = room_of(account, cap, rate)
    places, free = places + more, free + math.max(given, 0)
    if open then
      opens = math.min(opens or open, open)
    elseif on_trial then
      trials = trials + 1
    else
      well = true
    end
  end
  free = math.min(free, places - out)
  if not well then free = math.min(free, trials - out) end
  return free, opens
end

-- --- who is next: start-time fair queueing of tenants by estimated dollars over share (deploy/decisions.md, "Fair shares")

local terms = {}
-- What a tenant is due: its share in thousandths, and how many more jobs gateways may have of it, if that is limited.
local function terms_of(tenant)
  if not terms[tenant] then
    local share, cap = string.match(redis.call('HGET', KEYS[4], tenant) or '', '^(%d+):(%d*)$')
    local busy = (cap or '') ~= '' and tonumber(redis.call('HGET', KEYS[5], tenant) or '0')
    terms[tenant] = {share = tonumber(share or '1000'), left = busy and cap - busy}
  end
  return terms[tenant]
end

local function head_of(l, line)
  local head = redis.call('ZRANGE', l.prefix .. ':' .. line, '0', '0', 'WITHSCORES')
  return head[1], tonumber(head[2])
end

-- Who comes (back) begins where the others are: what it left unused is not saved up.
local function join(l, tenant) redis.call('ZADD', l.turns, whole(lowest(l.turns) or 0), tenant) end

local function lines_of(l, tenant)
  local lines = {}
  for priority in string.gmatch(redis.call('HGET', l.lines, tenant) or '', '%d') do
    lines[#lines + 1] = tenant .. ':' .. priority
  end
  return lines
end

-- Nothing of it is due: its lines come due later, or when a job is written into them. It leaves only when its turn has come:
-- until then its virtual time is ahead of the others', and who writes one job after another goes on with it.
local function leave(l, tenant)
  for _, line in ipairs(lines_of(l, tenant)) do
    redis.call('ZREM', l.waiting, line)
    local id, at = head_of(l, line)
    if id then redis.call('ZADD', l.later, 'LT', whole(at), line) end
  end
  redis.call('HDEL', l.lines, tenant)
  redis.call('ZREM', l.turns, tenant)
end

-- It has as many jobs in flight as it may: it is looked at again soon, and until then it holds up nobody.
local CAPPED_MS = 500
local function set_aside(l, tenant)
  for _, line in ipairs(lines_of(l, tenant)) do redis.call('ZREM', l.waiting, line) end
  redis.call('ZREM', l.turns, tenant)
  redis.call('ZADD', l.capped, whole(now + CAPPED_MS), tenant)
end

local function come_back(l, tenant)
  redis.call('ZREM', l.capped, tenant)
  for _, line in ipairs(lines_of(l, tenant)) do
    local id, at = head_of(l, line)
    if id then redis.call('ZADD', l.waiting, whole(at), line) end
  end
  join(l, tenant)
end

-- Note that a line has a job that is due: higher priorities come first.
local function mark_line(l, tenant, priority)
  local known = redis.call('HGET', l.lines, tenant)
  if not known then join(l, tenant) end
  if known and string.find(known, priority, 1, true) then return end
  local priorities = {priority}
  for other in string.gmatch(known or '', '%d') do priorities[#priorities + 1] = other end
  table.sort(priorities, function(one, two) return one > two end)
  redis.call('HSET', l.lines, tenant, table.concat(priorities))
end

-- Lines whose first job has come due take their turns from now on. A line is in `later` at the latest when its first job is
-- due, or its tenant is in `lines`, or it is empty; so none is forgotten.
local RIPEN, RETURN = '200', '50'
local function ripen(l)
  for _, line in ipairs(redis.call('ZRANGEBYSCORE', l.later, '-inf', NOW, 'LIMIT', '0', RIPEN)) do
    redis.call('ZREM', l.later, line)
    local id, at = head_of(l, line)
    local tenant, priority = string.match(line, '^(.*):(%d)$')
    if id and at > now then
      redis.call('ZADD', l.later, whole(at), line)
    elseif id then
      mark_line(l, tenant, priority)
      if not redis.call('ZSCORE', l.capped, tenant) then redis.call('ZADD', l.waiting, whole(at), line) end
    end
  end
  for _, tenant in ipairs(redis.call('ZRANGEBYSCORE', l.capped, '-inf', NOW, 'LIMIT', '0', RETURN)) do come_back(l, tenant) end
end

-- The tenant, line and id of the job that is next; nothing where nobody waits.
local function next_job(l)
  while true do
    local tenant = redis.call('ZRANGE', l.turns, '0', '0')[1]
    if not tenant then return end
    local left = terms_of(tenant).left
    if left and left <= 0 then
      set_aside(l, tenant)
    else
      for _, line in ipairs(lines_of(l, tenant)) do
        local id, at = head_of(l, line)
        if id and at <= now then return tenant, line, id end
      end
      leave(l, tenant)
    end
  end
end

-- Take the next job out of the line.
local function take(l)
  local tenant, line, id = next_job(l)
  if not id then return end
  redis.call('ZREM', l.prefix .. ':' .. line, id)
  local after, at = head_of(l, line)
  if after then redis.call('ZADD', l.waiting, whole(at), line) else redis.call('ZREM', l.waiting, line) end
  return id, tenant
end

-- The tenant's virtual time goes on by what the job costs over its share. Who has none there waited where nobody else did.
local function charge(l, tenant, cost)
  local by = math.ceil(cost * 1000 / terms_of(tenant).share)
  if redis.call('ZSCORE', l.turns, tenant) then redis.call('ZINCRBY', l.turns, whole(by), tenant) end
end

-- --- lanes

local lanes, rooms, opens = cjson.decode(ARGV[4]), {}, {}
local keys, first = {}, 6
local NAMES = {'due', 'leased', 'health', 'parked', 'standby', 'parked_lines', 'charged'}
local LINE = {'later', 'waiting', 'turns', 'lines', 'capped'}
local function named(into, names)
  for _, name in ipairs(names) do
    into[name] = KEYS[first]
    first = first + 1
  end
  return into
end
for number, lane in ipairs(lanes) do
  if lane[2] == '' then -- a lane without a gateway has two keys: '' would be in another slot
    keys[number] = named({}, {'due', 'leased'})
  else
    local of = named({}, NAMES)
    of.own, of.others = named({prefix = of.due}, LINE), named({prefix = of.standby}, LINE)
    of.accounts = {}
    for at, label in ipairs(lane[6]) do of.accounts[at] = named({label = label}, {'health', 'window'}) end
    keys[number] = of
  end
end

-- Jobs that wait for the end of a pause come back to their places in the line: of each line some in turn.
local UNPARK, BITE = 100, 20
local function unpark(of)
  local old = redis.call('ZRANGE', of.parked, '0', whole(UNPARK - 1), 'WITHSCORES') -- of a version without lines of tenants
  for at = 1, #old, 2 do
    redis.call('ZADD', of.due, old[at + 1], old[at])
    redis.call('ZREM', of.parked, old[at])
  end
  local left = UNPARK
  while left > 0 do
    local line = redis.call('ZRANGE', of.parked_lines, '0', '0')[1]
    if not line then return end
    local jobs = redis.call('ZRANGE', of.parked .. ':' .. line, '0', whole(BITE - 1), 'WITHSCORES')
    for at = 1, #jobs, 2 do
      redis.call('ZADD', of.due .. ':' .. line, jobs[at + 1], jobs[at])
      redis.call('ZREM', of.parked .. ':' .. line, jobs[at])
    end
    if jobs[2] then redis.call('ZADD', of.own.later, 'LT', jobs[2], line) end
    if #jobs < BITE * 2 then redis.call('ZREM', of.parked_lines, line) else redis.call('ZADD', of.parked_lines, NOW, line) end
    left = left - math.max(#jobs / 2, 1)
  end
end

local function give(number, id)
  redis.call('ZADD', keys[number].leased, lease, id)
  answer[#answer + 1], answer[#answer + 2] = number, id
  rooms[number] = rooms[number] - 1
end

-- Give many jobs, which stand in the set `due` if one is named, with a few commands in all.
local AT_ONCE = 500 -- Lua hands on a few thousand values at the most
local function give_all(number, ids, due)
  for first = 1, #ids, AT_ONCE do
    local leases = {}
    for at = first, math.min(first + AT_ONCE - 1, #ids) do
      leases[#leases + 1], leases[#leases + 2] = lease, ids[at]
      answer[#answer + 1], answer[#answer + 2] = number, ids[at]
    end
    if due then redis.call('ZREM', due, unpack(ids, first, first + #leases / 2 - 1)) end
    redis.call('ZADD', keys[number].leased, unpack(leases))
  end
  rooms[number] = rooms[number] - #ids
end

-- Give a job of a tenant, on its account.
local function give_on_account(number, id, tenant)
  local of, left = keys[number], terms_of(tenant).left
  local cost = tonumber(string.match(redis.call('HGET', KEYS[3], id) or '', ':(%d+)$') or ARGV[5])
  charge(of.own, tenant, cost)
  redis.call('HSET', of.charged, id, whole(cost))
  if left then terms[tenant].left = left - 1 end
  give(number, id)
  return cost
end

-- Out of the line where the job stands, or from among those who wait there for the end of a pause.
local function out_of_line(id)
  local line = string.match(redis.call('HGET', KEYS[3], id) or '', '^(.*):%d+$')
  for _, of in ipairs(keys) do
    if of.own then
      local taken = redis.call('ZREM', of.due, id) + redis.call('ZREM', of.parked, id)
      if line then
        taken = taken + redis.call('ZREM', of.due .. ':' .. line, id) + redis.call('ZREM', of.parked .. ':' .. line, id)
      end
      if taken > 0 then return true end
    end
  end
  return false
end

-- When to come again for a line: when its next job is due, or, where jobs are due and there is no room, when there is some.
local function come_again_for(l, number)
  come_again(lowest(l.later))
  come_again(lowest(l.capped))
  if rooms[number] <= 0 and lowest(l.turns) then come_again(opens[number]) end
end

redis.call('DEL', KEYS[2]) -- what comes due from now on wakes it again
for number, lane in ipairs(lanes) do
  local of = keys[number]
  local room, gateway, cap, rate = unpack(lane)
  rooms[number] = 0
  give_all(number, redis.call('ZRANGEBYSCORE', of.leased, '-inf', NOW, 'LIMIT', '0', whole(room)))
  local out = redis.call('ZCARD', of.leased)
  room = room - out
  local paused = gateway ~= '' and paused_until(of.health, of.accounts) > now
  if paused then
    room = math.min(room, 50) -- to be moved to another gateway, or put off
  elseif gateway ~= '' then
    unpark(of)
    local allowed
    allowed, opens[number] = allowance(of.accounts, out, cap, rate)
    room = math.min(room, allowed)
  end
  rooms[number] = math.max(room, 0)
  -- Of a submit lane these are jobs that a version without lines of tenants has left: they came first.
  local due = redis.call('ZRANGEBYSCORE', of.due, '-inf', NOW, 'LIMIT', '0', whole(rooms[number]))
  if lane[5] then
    for _, id in ipairs(due) do
      redis.call('ZREM', of.due, id)
      if out_of_line(id) then give(number, id) end -- one that is leased has its worker, who looks himself
    end
  else
    give_all(number, due, of.due)
  end
  local head = lowest(of.due)
  if head and head <= now and rooms[number] <= 0 then head = opens[number] end
  come_again(head)
  if of.own then
    ripen(of.own)
    while rooms[number] > 0 do
      local id, tenant = take(of.own)
      if not id then break end
      give_on_account(number, id, tenant)
    end
    come_again_for(of.own, number)
  end
  come_again(lowest(of.leased))
  if paused then rooms[number] = 0 end
end

-- Whoever has waited long enough for the first gateway of its route goes to another that has room, once those who stand
-- in line there are served: only now, so that nobody leaves a line in which it was to be served in this turn.
for number = 1, #lanes do
  local of = keys[number]
  if of.own then
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', of.standby, '-inf', NOW, 'LIMIT', '0', whole(rooms[number]))) do
      redis.call('ZREM', of.standby, id)
      if out_of_line(id) then give(number, id) end
    end
    local head = lowest(of.standby)
    if head and head <= now and rooms[number] <= 0 then head = opens[number] end
    come_again(head)
    ripen(of.others)
    while rooms[number] > 0 do
      local id, tenant = take(of.others)
      if not id then break end
      if out_of_line(id) then charge(of.others, tenant, give_on_account(number, id, tenant)) end
    end
    come_again_for(of.others, number)
  end
end
if soonest then answer[1] = string.format('%.0f', soonest) end
return answer
