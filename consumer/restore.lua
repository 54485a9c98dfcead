-- Put an exported dead letter back, under its own id where the stream still takes it.
-- Returns its id, or false when the letter is there already.
--
-- KEYS: dead-letter stream   ARGV: its id, then field, value, …
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) > 0 then
  return false
end
local same = redis.pcall('XADD', KEYS[1], ARGV[1], unpack(ARGV, 2))
if type(same) == 'table' and same.err then
  return redis.call('XADD', KEYS[1], '*', unpack(ARGV, 2))
end
return same
