-- Entries of the stream that hold a text: {{id, …}, where to go on or ""}. The search runs here,
-- because the entries would be a thousand times the answer; it is bounded in bytes.
--
-- KEYS: stream   ARGV: start of the range, a field's name or "" for any, the text
-- With a field the value must be the text; without one it must be somewhere in a value.
local found, bytes, from, field, text = {}, 0, ARGV[1], ARGV[2], ARGV[3]
while bytes < 16777216 do
  local entries = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 64)
  for _, entry in ipairs(entries) do
    for i = 1, #entry[2], 2 do
      local name, value = entry[2][i], entry[2][i + 1]
      bytes = bytes + #value + 100
      if (field == '' and string.find(value, text, 1, true)) or (field == name and value == text) then
        found[#found + 1] = entry[1]
        break
      end
    end
    from = '(' .. entry[1]
  end
  if #entries < 64 then
    return {found, ''}
  end
end
return {found, from}
