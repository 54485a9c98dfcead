-- The next dead letters without their payloads: {{id, {field, value, …}, bytes of payload}, …}.
-- Bounded in number and in bytes read; an empty answer is the end.
--
-- KEYS: dead-letter stream   ARGV: start of the range ("(id" to go on)
local rows, bytes, from = {}, 0, ARGV[1]
while #rows < 1024 and bytes < 16777216 do
  local found = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 64)
  for _, entry in ipairs(found) do
    local meta, size = {}, 0
    for i = 1, #entry[2], 2 do
      local name, value = entry[2][i], entry[2][i + 1]
      if string.sub(name, 1, 6) == 'event.' or name == 'event_fields_base64' then
        size = size + #value
      else
        meta[#meta + 1] = name
        meta[#meta + 1] = value
      end
    end
    bytes = bytes + size
    rows[#rows + 1] = {entry[1], meta, size}
    from = '(' .. entry[1]
  end
  if #found < 64 then
    break
  end
end
return rows
