-- Wake a scheduler, where the channel is allowed, once until one has looked: claim.lua takes `rushes:rung` away.
if redis.pcall('SET', 'rushes:rung', '', 'NX', 'PX', 1000) then redis.pcall('PUBLISH', 'rushes:bell', '') end
