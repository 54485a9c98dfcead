-- Check, write, mark, ack: one event, atomically. Returns {outcome, other id}.
--
-- Neither a script nor MULTI/EXEC rolls back, so the order is the guarantee: the only command
-- that data can make fail (ZADD, on a key of another type) comes first, and the by-id key, which
-- says "this snapshot is written", comes last of the writes. A script that stops in between
-- leaves no such key, no dedup mark and no ack, and the retry writes the same again.
--
-- KEYS: stream, dedup, by-id, snapshot, index, latest, live
-- ARGV: group, entry id, snapshot id, generated_at, JSON, keep (s), dedup window (s)
local stream, dedup, by_id, snapshot, index, latest, live = unpack(KEYS)
local group, entry, id, generated_at, json, keep, window = unpack(ARGV)

if redis.call('EXISTS', by_id) == 1 then
  redis.call('XACK', stream, group, entry)
  return {'redelivered', id}
end
local holder = redis.call('GET', dedup)
if holder then
  redis.call('XACK', stream, group, entry)
  return {holder == id and 'redelivered' or 'duplicate', holder}
end
-- Whoever acks first settles an entry: a consumer that slept while another one dead-lettered it
-- writes nothing. (Without a group there is nobody else, and the snapshot is worth keeping.)
local pending = redis.pcall('XPENDING', stream, group, entry, entry, 1)
if not pending.err and #pending == 0 then
  return {'redelivered', ''}
end

redis.call('ZADD', index, generated_at, id)
local oldest = redis.call('TIME')[1] * 1000 - keep * 1000
redis.call('ZREMRANGEBYSCORE', index, '-inf', string.format('(%.0f', oldest))
redis.call('SET', snapshot, json, 'EX', keep)
local newest = redis.call('ZREVRANGE', index, 0, 0)[1]
if newest then
  redis.call('SET', latest, newest, 'EX', keep)
end
redis.call('DEL', live)
redis.call('SET', by_id, json, 'EX', keep)
redis.call('SET', dedup, id, 'NX', 'EX', window)
redis.call('XACK', stream, group, entry)
return {newest == id and 'persisted' or 'superseded', newest or ''}
