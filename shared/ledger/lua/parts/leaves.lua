-- Sorted sets of ever so many members, all of score 0, in leaves that Redis keeps packed: 37 bytes a member, not 135.
-- A leaf is `{set}:{first}`, and `{set}:leaves` has the firsts: no member of a leaf is before its first, and none behind
-- that of the next leaf. The first of the lowest is ''. Redis packs sets of up to 128 members (zset-max-ziplist-entries);
-- 120 ids of jobs fill 4 KB.
local FULL = 120

-- The leaf of a member. Those that are gone are forgotten: the last member of one left it, or its time was over.
local function leaf_of(set, member)
  while true do
    local first = redis.call('ZREVRANGEBYLEX', set .. ':leaves', '[' .. member, '-', 'LIMIT', '0', '1')[1]
    if not first then return end
    local leaf = set .. ':' .. first
    if redis.call('EXISTS', leaf) == 1 then return leaf end
    redis.call('ZREM', set .. ':leaves', first)
  end
end

-- Answers 1, or 0 where it was there, and its leaf. A full leaf is cut in the middle, or at the newcomer where that is
-- further on: what comes in order leaves full leaves behind it. A leaf is named by so many letters of its first member, or
-- by all. `leaf` is that of the member, where it is known already.
local function add_to_leaf(set, member, letters, leaf)
  local function new_leaf(first)
    redis.call('ZADD', set .. ':leaves', '0', first)
    return set .. ':' .. first
  end
  leaf = leaf or leaf_of(set, member) or new_leaf('')
  if redis.call('ZADD', leaf, '0', member) == 0 then return 0, leaf end
  if redis.call('ZCARD', leaf) > FULL then
    local rank = redis.call('ZRANK', leaf, member)
    local at = math.max(rank, FULL / 2)
    local others, life = redis.call('ZRANGE', leaf, at, -1), redis.call('PTTL', leaf)
    local upper = new_leaf(string.sub(others[1], 1, letters or -1))
    redis.call('ZREMRANGEBYRANK', leaf, at, -1)
    for _, other in ipairs(others) do redis.call('ZADD', upper, '0', other) end
    if life > 0 then redis.call('PEXPIRE', upper, life) end
    if rank >= at then leaf = upper end
  end
  return 1, leaf
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
    for _, old in ipairs(redis.call('ZRANGE', index, 0, FULL / 2 - 1)) do added = added + (add_to_leaf(index, old)) end
    redis.call('ZREMRANGEBYRANK', index, 0, FULL / 2 - 1)
    redis.call('INCRBY', index .. ':size', added)
  end
  redis.call('ZADD', index, '0', id)
end

local function unlist(index, id)
  redis.call('ZREM', index, id)
  local leaf = leaf_of(index, id)
  if not leaf or redis.call('ZREM', leaf, id) == 0 then return end
  leaf_of(index, id) -- that it is forgotten if it is gone now
  if redis.call('DECR', index .. ':size') == 0 then redis.call('DEL', index .. ':size') end
end

