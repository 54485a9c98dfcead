-- How the group stands: everything that a gauge or `regions status` asks for, in one look.
-- Returns {1 when it was looked at now, 0 when somebody else just had; JSON; now (ms)}.
--
-- The JSON is kept for `ttl`, so of all consumers that ask within it one pays for the look. The
-- SET may be refused (a full server): then everybody looks, and what is told stays true.
--
-- KEYS: stream, dead-letter stream, cache, then one index for each region
-- ARGV: group, ttl (ms; 0 looks afresh and keeps nothing)
local stream, dead, cache = KEYS[1], KEYS[2], KEYS[3]
local group, ttl = ARGV[1], tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if ttl > 0 then
  local known = redis.call('GET', cache)
  if known then
    return {0, known, now}
  end
end

local function named(flat)
  local map = {}
  for i = 1, #flat, 2 do
    map[flat[i]] = flat[i + 1]
  end
  return map
end

local function first_id(from)
  local found = redis.call('XRANGE', stream, from, '+', 'COUNT', 1)[1]
  return found and found[1]
end

local function about_group(row)
  local told = {
    delivered = row['last-delivered-id'], lag = row.lag, pending = row.pending,
    unread = first_id('(' .. row['last-delivered-id']), highest = 0, members = {},
  }
  if row.pending > 0 then
    told.oldest_pending = redis.call('XPENDING', stream, group)[2]
    -- The oldest are those that were delivered most often; all of them could be too many.
    for _, entry in ipairs(redis.call('XPENDING', stream, group, '-', '+', 1000)) do
      told.highest = math.max(told.highest, entry[4])
    end
  end
  for i, member in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
    member = named(member)
    told.members[i] = {member.name, member.pending, member.idle}
  end
  return told
end

local said = {at = now, newest = {}, dead = 0}
local info = redis.pcall('XINFO', 'STREAM', stream)
if not info.err then
  info = named(info)
  said.length = info.length
  said.first, said.last = first_id('-'), info['last-generated-id']
  said.deleted = info['max-deleted-entry-id']
  for _, row in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    row = named(row)
    if row.name == group then
      said.group = about_group(row)
    end
  end
end
local letters = redis.pcall('XLEN', dead)
if type(letters) == 'number' and letters > 0 then
  said.dead, said.oldest_dead = letters, redis.call('XRANGE', dead, '-', '+', 'COUNT', 1)[1][1]
end
for i = 4, #KEYS do
  local newest = redis.pcall('ZREVRANGE', KEYS[i], 0, 0, 'WITHSCORES')
  said.newest[i - 3] = newest[1] and {newest[1], newest[2]} or false
end
local json = cjson.encode(said)
if ttl > 0 then
  redis.pcall('SET', cache, json, 'PX', ttl)
end
return {1, json, now}
