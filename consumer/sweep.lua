-- Remove the names of consumers that are idle and hold nothing. Returns those names.
-- Check and removal in one step: XGROUP DELCONSUMER destroys what is pending under a name.
-- A live consumer whose name goes gets it back with its next read.
--
-- KEYS: stream   ARGV: group, idle (ms), our own name
local removed = {}
for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local consumer = {}
  for i = 1, #row, 2 do
    consumer[row[i]] = row[i + 1]
  end
  if consumer.pending == 0 and consumer.idle >= tonumber(ARGV[2]) and consumer.name ~= ARGV[3] then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
    removed[#removed + 1] = consumer.name
  end
end
return removed
