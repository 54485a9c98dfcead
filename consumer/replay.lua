-- Put one dead letter's event back on the stream and take the letter away: both or neither.
-- Returns the new entry's id, or false when there is no such letter (any more).
--
-- KEYS: dead-letter stream, stream   ARGV: dead letter's id
local letter = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not letter then
  return false
end
local fields, redrives, trace = {}, 0, nil
for i = 1, #letter[2], 2 do
  local name, value = letter[2][i], letter[2][i + 1]
  if name == 'redrives' then
    redrives = tonumber(value) or 0
  elseif name == 'traceparent' then
    trace = value
  elseif name == 'event_fields_base64' then
    return redis.error_reply('ERR this letter holds more fields than a script can put back')
  elseif string.sub(name, 1, 6) == 'event.' then
    name = string.sub(name, 7)
    -- A replay is a new trace, linked to the one that failed; its history is written anew.
    if name ~= 'redrives' and name ~= 'replay_of' and name ~= 'replay_trace'
      and name ~= 'traceparent' and name ~= 'tracestate' then
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
  end
end
local id = redis.call('XADD', KEYS[2], '*', 'redrives', redrives + 1, 'replay_of', ARGV[1],
  'replay_trace', trace or '', unpack(fields))
redis.call('XDEL', KEYS[1], ARGV[1])
return id
