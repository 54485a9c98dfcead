-- Take one dead letter away for good and note it in the audit stream, without the payload.
-- Returns 1, or 0 when there is no such letter (any more).
--
-- KEYS: dead-letter stream, audit stream   ARGV: dead letter's id, who does it, when (ms)
local letter = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not letter then
  return 0
end
local told = {}
for i = 1, #letter[2], 2 do
  local name = letter[2][i]
  if name == 'region' or name == 'snapshot_id' or name == 'reason' or name == 'source_id'
    or name == 'fingerprint' then
    told[#told + 1] = name
    told[#told + 1] = letter[2][i + 1]
  end
end
-- The note first: a key of another type in its place must not cost the letter.
redis.call('XADD', KEYS[2], '*', 'action', 'discard', 'dead_id', ARGV[1], 'by', ARGV[2],
  'at', ARGV[3], unpack(told))
return redis.call('XDEL', KEYS[1], ARGV[1])
