-- Put one dead letter's event back on the stream and take the letter away: both or neither.
-- Returns the new entry's id, or false when there is no such letter (any more).
--
-- Nothing is rolled back, so what could fail is looked at before anything is written.
--
-- KEYS: dead-letter stream, stream, audit stream
-- ARGV: dead letter's id, a mended snapshot or "", who does it, when (ms)
local letter = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not letter then
  return false
end
for i = 2, 3 do
  local kind = redis.call('TYPE', KEYS[i]).ok
  if kind ~= 'stream' and kind ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. kind .. ', not a stream')
  end
end
local mended = ARGV[2] ~= ''
local fields, redrives, trace, told = {}, 0, '', {}
for i = 1, #letter[2], 2 do
  local name, value = letter[2][i], letter[2][i + 1]
  if name == 'redrives' then
    redrives = tonumber(value) or 0
  elseif name == 'traceparent' then
    trace = value
  elseif name == 'event_fields_base64' and not mended then
    return redis.error_reply('ERR this letter holds more fields than a script can put back')
  elseif name == 'region' or name == 'snapshot_id' or name == 'reason' or name == 'source_id'
    or name == 'fingerprint' then
    told[#told + 1] = name
    told[#told + 1] = value
  elseif string.sub(name, 1, 6) == 'event.' then
    name = string.sub(name, 7)
    -- A replay is a new trace, linked to the one that failed; its history is written anew.
    if name ~= 'redrives' and name ~= 'replay_of' and name ~= 'replay_trace'
      and name ~= 'traceparent' and name ~= 'tracestate'
      and not (mended and (name == 'snapshot' or name == '__data__')) then
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
  end
end
if mended then
  fields[#fields + 1] = 'snapshot'
  fields[#fields + 1] = ARGV[2]
end
local id = redis.call('XADD', KEYS[2], '*', 'redrives', redrives + 1, 'replay_of', ARGV[1],
  'replay_trace', trace, unpack(fields))
redis.call('XADD', KEYS[3], '*', 'action', mended and 'edit' or 'replay', 'dead_id', ARGV[1],
  'entry_id', id, 'by', ARGV[3], 'at', ARGV[4], unpack(told))
redis.call('XDEL', KEYS[1], ARGV[1])
return id
