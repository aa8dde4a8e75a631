-- Lease what is due: nothing is popped, a crash is a lease that ran out.
-- KEYS[1] in-flight, KEYS[2] bell, then per lane: due, leased, and for a submit lane gateway, window, parked and standby
-- ARGV[1] now, ARGV[2] lease ends, ARGV[3] window ms, ARGV[4] lanes as JSON: [[room, gateway, cap in flight, submits a window,
-- whether the jobs stand in line elsewhere: start deadlines]]
-- Answers {when to come again or '', lane number, id, lane number, id, ...}.
local now, lease, span = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local answer, soonest = {''}, nil

local function come_again(at)
  at = tonumber(at)
  if at and (not soonest or at < soonest) then soonest = at end
end

local function lowest(key) return tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]) end

-- Until when a gateway is paused: by its own answers, or by an operator.
local function paused_until(health)
  local paused, stopped = unpack(redis.call('HMGET', health, 'paused_until', 'stopped_until'))
  return math.max(tonumber(paused or '0'), tonumber(stopped or '0'))
end

-- How many more jobs this gateway may be given now; and when more, if that is known.
local function allowance(health, window, busy, out, cap, rate)
  local strikes = redis.call('HGET', health, 'strikes')
  redis.call('ZREMRANGEBYSCORE', window, '-inf', '(' .. now - span)
  local left = rate - redis.call('ZCARD', window)
  if left <= 0 then return 0, (lowest(window) or now) + span + 1 end
  local free = math.min(left, cap - busy - out)
  if tonumber(strikes or '0') > 0 then free = math.min(free, 1 - out) end -- one job shows whether it is well again
  return free, nil
end

-- Jobs that wait for the end of a pause come back to their places in the line, the oldest first.
local function unpark(health, parked, due)
  if paused_until(health) > now then return end
  local waiting = redis.call('ZRANGE', parked, 0, 99, 'WITHSCORES')
  for at = 1, #waiting, 2 do
    redis.call('ZADD', due, waiting[at + 1], waiting[at])
    redis.call('ZREM', parked, waiting[at])
  end
end

local lanes, rooms, opens = cjson.decode(ARGV[4]), {}, {}
local keys, first = {}, 3
for number, lane in ipairs(lanes) do
  local last = first + (lane[2] == '' and 1 or 5) -- a lane without a gateway has two keys: '' would be in another slot
  keys[number] = {unpack(KEYS, first, last)}
  first = last + 1
end
local function keys_of(number) return unpack(keys[number], 1, 6) end

local function give(number, id)
  redis.call('ZADD', keys[number][2], lease, id)
  answer[#answer + 1], answer[#answer + 2] = number, id
  rooms[number] = rooms[number] - 1
end

-- Out of the line where the job stands, or from among those who wait there for the end of a pause.
local function out_of_line(id)
  for number = 1, #lanes do
    local due, _, _, _, parked = keys_of(number)
    if parked and redis.call('ZREM', due, id) + redis.call('ZREM', parked, id) > 0 then return true end
  end
  return false
end

redis.call('DEL', KEYS[2]) -- what comes due from now on wakes it again
for number, lane in ipairs(lanes) do
  local due, leased, health, window, parked = keys_of(number)
  local room, gateway, cap, rate = unpack(lane)
  rooms[number] = 0
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', leased, '-inf', now, 'LIMIT', 0, room)) do give(number, id) end
  local out = redis.call('ZCARD', leased)
  room = room - out
  local paused = gateway ~= '' and paused_until(health) > now
  if paused then
    room = math.min(room, 50) -- to be moved to another gateway, or put off
  elseif gateway ~= '' then
    unpark(health, parked, due)
    local busy = tonumber(redis.call('HGET', KEYS[1], gateway) or '0')
    local allowed
    allowed, opens[number] = allowance(health, window, busy, out, cap, rate)
    room = math.min(room, allowed)
  end
  rooms[number] = math.max(room, 0)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, rooms[number])) do
    redis.call('ZREM', due, id)
    if not lane[5] or out_of_line(id) then give(number, id) end -- one that is leased has its worker, who looks himself
  end
  local head = lowest(due)
  if head and head <= now and rooms[number] <= 0 then head = opens[number] end
  come_again(head)
  come_again(lowest(leased))
  if paused then rooms[number] = 0 end
end

-- Whoever has waited long enough for the first gateway of its route goes to another that has room, once those who stand
-- in line there are served: only now, so that nobody leaves a line in which it was to be served in this turn.
for number = 1, #lanes do
  local _, _, _, _, _, standby = keys_of(number)
  if standby then
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', standby, '-inf', now, 'LIMIT', 0, rooms[number])) do
      redis.call('ZREM', standby, id)
      if out_of_line(id) then give(number, id) end
    end
    local head = lowest(standby)
    if head and head <= now and rooms[number] <= 0 then head = opens[number] end
    come_again(head)
  end
end
if soonest then answer[1] = string.format('%.0f', soonest) end
return answer
