-- Trim entries that are older than the retention and that no group needs any more.
-- Returns how many went; call again while it is not 0.
--
-- A group needs what it has not read and what it holds pending. Without any group nobody has
-- read anything yet, and nothing goes. The approximate trim comes first, because it removes
-- whole nodes and is bounded by LIMIT; the exact one then has less than a node left to do.
--
-- KEYS: stream   ARGV: retention (ms)
local stream = KEYS[1]
local now = redis.call('TIME')
local limit = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000) - ARGV[1])
local bound = {tonumber(limit), 0}

local function lower(id, offset)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  ms, seq = tonumber(ms), tonumber(seq) + offset
  if seq > 2 ^ 53 then
    seq = 0 -- a number here would round: keep the whole millisecond instead
  end
  if ms < bound[1] or (ms == bound[1] and seq < bound[2]) then
    bound = {ms, seq}
  end
end

local groups = redis.call('XINFO', 'GROUPS', stream)
if #groups == 0 or bound[1] <= 0 then
  return 0
end
for _, row in ipairs(groups) do
  local group = {}
  for i = 1, #row, 2 do
    group[row[i]] = row[i + 1]
  end
  lower(group['last-delivered-id'], 1)
  if group.pending > 0 then
    lower(redis.call('XPENDING', stream, group.name)[2], 0)
  end
end
local minid = string.format('%.0f-%.0f', bound[1], bound[2])
local trimmed = redis.call('XTRIM', stream, 'MINID', '~', minid, 'LIMIT', 10000)
if trimmed == 0 then
  trimmed = redis.call('XTRIM', stream, 'MINID', '=', minid)
end
return trimmed
