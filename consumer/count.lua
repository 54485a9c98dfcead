-- Count entries after an id, as many as a short look allows. Returns {count, last id, all of them}.
-- There is no command for it; the bound is in bytes, because what is read passes through here.
--
-- KEYS: stream   ARGV: after this id
local count, last, bytes = 0, ARGV[1], 0
while count < 4096 and bytes < 4194304 do
  local found = redis.call('XRANGE', KEYS[1], '(' .. last, '+', 'COUNT', 64)
  for _, entry in ipairs(found) do
    for _, part in ipairs(entry[2]) do
      bytes = bytes + #part
    end
    last = entry[1]
  end
  count = count + #found
  if #found < 64 then
    return {count, last, 1}
  end
end
return {count, last, 0}
