-- Lease what is due: nothing is popped, a crash is a lease that ran out.
-- KEYS[1] in-flight, then per lane: due, leased, and for a submit lane gateway, window and parked ('' otherwise)
-- ARGV[1] now, ARGV[2] lease ends, ARGV[3] window ms, ARGV[4] lanes as JSON: [[room, gateway, cap in flight, submits a window]]
-- Answers {when to come again or '', lane number, id, lane number, id, ...}.
local now, lease, span = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local answer, soonest = {''}, nil

local function come_again(at)
  at = tonumber(at)
  if at and (not soonest or at < soonest) then soonest = at end
end

local function lowest(key) return tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]) end

-- Until when a gateway is paused: by what it said itself, or by an operator.
local function paused_until(health)
  local said, stopped = unpack(redis.call('HMGET', health, 'paused_until', 'stopped_until'))
  return math.max(tonumber(said or '0'), tonumber(stopped or '0'))
end

-- How many more jobs this gateway may be given now; and when more, if that is known.
local function allowance(health, window, busy, out, cap, rate)
  local strikes = redis.call('HGET', health, 'strikes')
  if paused_until(health) > now then return 50, nil end -- to be moved to another gateway, or put off
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

redis.call('DEL', 'rushes:rung') -- what comes due from now on rings again
for number, lane in ipairs(cjson.decode(ARGV[4])) do
  local due, leased, health, window, parked = unpack(KEYS, number * 5 - 3, number * 5 + 1)
  local room, gateway, cap, rate = unpack(lane)
  local function give(id)
    redis.call('ZADD', leased, lease, id)
    answer[#answer + 1], answer[#answer + 2] = number, id
  end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', leased, '-inf', now, 'LIMIT', 0, room)) do give(id) end
  local out = redis.call('ZCARD', leased)
  local opens = nil
  room = room - out
  if gateway ~= '' then
    unpark(health, parked, due)
    local busy = tonumber(redis.call('HGET', KEYS[1], gateway) or '0')
    local allowed
    allowed, opens = allowance(health, window, busy, out, cap, rate)
    room = math.min(room, allowed)
  end
  if room > 0 then
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, room)) do
      redis.call('ZREM', due, id)
      give(id)
      room = room - 1
    end
  end
  local head = lowest(due)
  if head and head <= now and room <= 0 then head = opens end
  come_again(head)
  come_again(lowest(leased))
end
if soonest then answer[1] = string.format('%.0f', soonest) end
return answer
