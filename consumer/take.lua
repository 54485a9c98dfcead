#!lua
-- Deliver one suspect to us, if it is still ours. Returns {entry, deliveries}, or false.
-- KEYS: stream   ARGV: group, consumer, entry id
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1, ARGV[2])[1]
if not pending then
  return false
end
local entry = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3])[1]
if not entry then
  return false
end
return {entry, pending[4] + 1}
