-- Idempotency keys, all in the leaves of one set: 65 bytes each, where a key of Redis for each took 240 (idempotency.py).
-- A member is 16 letters for tenant and key, and what it holds: an id, a space, letters for the body. It is forgotten a week
-- after the moment with which the id begins. `since` is that of the oldest ids that are known, in the letters of an id.
local NAME, LIFE_S, DAY_S = 16, 7 * 86400, 86400

local function is_over(member, since)
  local made = string.match(member, '^%a+_(%w%w%w%w%w%w%w%w%w%w)', NAME + 1)
  for at = 1, made and #made or 0 do -- by bytes: Lua's own `<` goes by the language of the server
    local one, other = string.byte(made, at), string.byte(since, at)
    if one ~= other then return one < other end
  end
  return false
end

-- What a key holds, if it is known; and the leaf in which it is, or would be.
local function known(set, earlier, name, since)
  local value = redis.call('GET', earlier) -- in a version that had a key of Redis for each
  if value then return value end
  local leaf = leaf_of(set, name)
  local member = leaf and redis.call('ZRANGEBYLEX', leaf, '[' .. name, '[' .. name .. '~', 'LIMIT', '0', '1')[1]
  if not member then return nil, leaf end
  if not is_over(member, since) then return string.sub(member, NAME + 1), leaf end
  redis.call('ZREM', leaf, member)
  return nil, leaf
end

-- A leaf lives for a week at least after each key that came into it, and once a day those are dropped whose time is over.
-- `leaf` is what `known` told; leaves are named by NAME letters, so no other begins between a name and its member.
local function keep_key(set, name, value, since, leaf)
  local _
  _, leaf = add_to_leaf(set, name .. value, NAME, leaf)
  if redis.call('TTL', leaf) > LIFE_S then return end
  for _, member in ipairs(redis.call('ZRANGE', leaf, 0, -1)) do
    if is_over(member, since) then redis.call('ZREM', leaf, member) end
  end
  redis.call('EXPIRE', leaf, LIFE_S + DAY_S)
  redis.call('EXPIRE', set .. ':leaves', LIFE_S + DAY_S)
end

