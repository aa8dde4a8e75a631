-- Wake a scheduler, once until one has looked: claim.lua takes `rushes:rung` away.
if redis.call('SET', 'rushes:rung', '', 'NX', 'PX', 1000) then redis.call('PUBLISH', 'rushes:bell', '') end
