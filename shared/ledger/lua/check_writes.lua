-- Show that programs run here, and write.
-- KEYS[1] a key for this alone
return redis.call('SET', KEYS[1], '', 'EX', 60)
