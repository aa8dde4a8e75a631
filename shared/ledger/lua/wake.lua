-- Wake a scheduler, where the channel is allowed, once until one has looked: claim.lua takes the key away.
-- KEYS[1] bell, which is the name of the channel too
if redis.pcall('SET', KEYS[1], '', 'NX', 'PX', '1000') then redis.pcall('PUBLISH', KEYS[1], '') end
