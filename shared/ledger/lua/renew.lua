-- Show that the holder of a lease lives.
-- KEYS[1] leased; ARGV[1] job id, ARGV[2] lease held, ARGV[3] new lease. Answers 1, or 0 where it is no longer held.
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or (score ~= ARGV[2] and score ~= ARGV[3]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
return 1
