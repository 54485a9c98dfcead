-- On the way out: what this consumer still holds becomes claimable at once, and its name goes.
-- Returns how many entries were released; call again while it is not 0.
--
-- XGROUP DELCONSUMER destroys what is pending under the name, so the entries move to another
-- name first. Delivery counts stay as they are.
--
-- KEYS: stream   ARGV: group, consumer, heir, count
local stream, group, consumer, heir = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local held = redis.pcall('XPENDING', stream, group, '-', '+', ARGV[4], consumer)
if held.err then
  return 0
end
for _, pending in ipairs(held) do
  redis.call('XCLAIM', stream, group, heir, 0, pending[1], 'IDLE', 10000000, 'RETRYCOUNT', pending[4], 'JUSTID')
end
if #held == 0 then
  redis.call('XGROUP', 'DELCONSUMER', stream, group, consumer)
end
return #held
