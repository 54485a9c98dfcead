-- Move one entry to the dead letters, once. Returns the dead letter's id, or false when the
-- entry is no longer pending: somebody else has settled it.
--
-- XADD comes before XACK, because it is the one that can fail (a full server, a key of another
-- type), and nothing is rolled back: acked first, the entry would be lost.
--
-- KEYS: stream, dead-letter stream
-- ARGV: group, entry id, then field, value, …
local stream, dead = KEYS[1], KEYS[2]
local group, entry = ARGV[1], ARGV[2]
if #redis.call('XPENDING', stream, group, entry, entry, 1) == 0 then
  return false
end
local id = redis.call('XADD', dead, '*', unpack(ARGV, 3))
redis.call('XACK', stream, group, entry)
return id
