-- Sorted sets of ever so many members, all of score 0, in leaves that Redis keeps packed: 37 bytes a member, not 135.
-- A leaf is `{set}:{first}`, and `{set}:leaves` has the firsts: no member of a leaf is before its first, and none behind
-- that of the next leaf. Redis packs sets of up to 128 members (zset-max-ziplist-entries); 120 ids of jobs fill 4 KB.
local FULL = 120

local function leaf_of(set, member)
  local first = redis.call('ZREVRANGEBYLEX', set .. ':leaves', '[' .. member, '-', 'LIMIT', 0, 1)[1]
  if first then return set .. ':' .. first, first end
end

-- Answers 1, or 0 where it was there. A full leaf is cut in the middle, or at the newcomer where that is further on: what
-- comes in order leaves full leaves behind it.
local function add_to_leaf(set, member)
  local leaf = leaf_of(set, member)
  if not leaf then
    leaf = set .. ':' .. member
    redis.call('ZADD', set .. ':leaves', 0, member)
  end
  if redis.call('ZADD', leaf, 0, member) == 0 then return 0 end
  if redis.call('ZCARD', leaf) > FULL then
    local at = math.max(redis.call('ZRANK', leaf, member), FULL / 2)
    local upper = redis.call('ZRANGE', leaf, at, -1)
    redis.call('ZREMRANGEBYRANK', leaf, at, -1)
    redis.call('ZADD', set .. ':leaves', 0, upper[1])
    for _, other in ipairs(upper) do redis.call('ZADD', set .. ':' .. upper[1], 0, other) end
  end
  return 1
end

-- An index of ended jobs: the newest stand in the zset `{index}` itself, all others in leaves, and `{index}:size` says how
-- many these are. So a tenant with few jobs has one key, and an index of a version without leaves is moved bit by bit.
local function is_listed(index, id)
  if redis.call('ZSCORE', index, id) then return true end
  local leaf = leaf_of(index, id)
  return leaf and redis.call('ZSCORE', leaf, id)
end

local function list(index, id)
  if is_listed(index, id) then return end
  if redis.call('ZCARD', index) >= FULL then
    local added = 0
    for _, old in ipairs(redis.call('ZRANGE', index, 0, FULL / 2 - 1)) do added = added + add_to_leaf(index, old) end
    redis.call('ZREMRANGEBYRANK', index, 0, FULL / 2 - 1)
    redis.call('INCRBY', index .. ':size', added)
  end
  redis.call('ZADD', index, 0, id)
end

local function unlist(index, id)
  redis.call('ZREM', index, id)
  local leaf, first = leaf_of(index, id)
  if not leaf or redis.call('ZREM', leaf, id) == 0 then return end
  if redis.call('ZCARD', leaf) == 0 then redis.call('ZREM', index .. ':leaves', first) end
  if redis.call('DECR', index .. ':size') == 0 then redis.call('DEL', index .. ':size') end
end

