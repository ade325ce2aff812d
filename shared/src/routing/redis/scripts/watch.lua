-- Watches of one gateway. ARGV: prefix, ref, how many it may have, users. Answers nothing where the lease is not this
-- epoch's; otherwise '1' for each that is online and '0' for each that is not, and how many are not watched: too many.
local me, users = ARGV[2], ARGV[4]
if not holds(me) then return false end
local set = prefix .. 'watches:' .. life(me)
local room, refused = tonumber(ARGV[3]) - redis.call('SCARD', set), 0
local seen, new = {}, {}
for at = 1, #users, USER do
  local user = users:sub(at, at + USER - 1)
  local key = prefix .. 'watch:' .. user
  local list = redis.call('GET', key) or ''
  local _, was_in = without(list, me)
  if not was_in and room > 0 then
    redis.call('SET', key, list .. me)
    new[#new + 1] = user
    room = room - 1
  elseif not was_in then
    refused = refused + 1
  end
  -- No ref is empty: this asks of everybody in the list.
  local _, _, held = without(redis.call('GET', prefix .. 'route:' .. user) or '', '')
  seen[#seen + 1] = held and '1' or '0'
end
if #new > 0 then redis.call('SADD', set, unpack(new)) end
return { table.concat(seen), refused }
