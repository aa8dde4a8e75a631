-- The newest members of sets, and of the leaves of those that have some (uses parts/leaves.lua).
-- KEYS the sets; ARGV[1] how many, ARGV[2] from where on downwards and ARGV[3] to where, as ZREVRANGEBYLEX takes them
-- Answers lists that are sorted each, the newest first: one or two for each set.
local limit, top, bottom = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local found = {}

local function downwards(set, from, to, count)
  return redis.call('ZREVRANGEBYLEX', set, from, to, 'LIMIT', 0, count)
end

for _, set in ipairs(KEYS) do
  found[#found + 1] = downwards(set, top, bottom, limit)
  local leaves, below, in_leaves = set .. ':leaves', top, {}
  repeat
    local first, is_last = downwards(leaves, below, bottom, 1)[1], false
    if not first then -- the leaf that begins before the bottom may hold members behind it
      first, is_last = downwards(leaves, below, '-', 1)[1], true
    end
    if first then
      for _, id in ipairs(downwards(set .. ':' .. first, top, bottom, limit - #in_leaves)) do
        in_leaves[#in_leaves + 1] = id
      end
      below = '(' .. first
    end
  until is_last or #in_leaves >= limit
  if #in_leaves > 0 then found[#found + 1] = in_leaves end
end
return found
