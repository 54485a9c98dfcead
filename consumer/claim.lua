#!lua
-- Take over what has been pending too long. Returns {next cursor, entries, suspects, vanished}.
--
-- An entry taken over for the first time is delivered in bulk (its delivery count becomes 2).
-- One that was taken over before and is pending again may have killed its consumer: it becomes
-- ours without a delivery, and the caller takes such suspects one by one, so that only the
-- culprit's count goes on growing.
--
-- The first line matters: scripts with a shebang are refused by a server that is out of memory.
-- There an entry could only be failed again, and its delivery count would lie.
--
-- KEYS: stream   ARGV: group, consumer, idle (ms), cursor, count
local stream = KEYS[1]
local group, consumer, idle, cursor, count = unpack(ARGV)
local claimed = redis.call('XAUTOCLAIM', stream, group, consumer, idle, cursor, 'COUNT', count, 'JUSTID')
local fresh, suspects = {}, {}
for _, id in ipairs(claimed[2]) do
  local pending = redis.call('XPENDING', stream, group, id, id, 1)[1]
  if pending[4] <= 1 then
    fresh[#fresh + 1] = id
  else
    suspects[#suspects + 1] = id
  end
end
local entries = {}
if #fresh > 0 then
  entries = redis.call('XCLAIM', stream, group, consumer, 0, unpack(fresh))
end
return {claimed[1], entries, suspects, claimed[3] or {}}
