-- Watches of one gateway. ARGV: prefix, ref, how many it may have, users. Answers nothing where the lease is not this
-- epoch's; otherwise '1' for each that is online and '0' for each that is not, and how many are not watched: too many.
local me, users = ARGV[2], ARGV[4]
if not holds(me) then return false end
local set = only('set', prefix .. 'watches:' .. life(me))
local room, refused = tonumber(ARGV[3]) - redis.call('SCARD', set), 0
local seen, watched = {}, {}
for at = 1, #users, USER do
  local user = users:sub(at, at + USER - 1)
  local key = prefix .. 'watch:' .. user
  local list = list_at(key)
  local _, was_in = without(list, me)
  if not was_in and room > 0 then
    redis.call('SET', key, list .. me)
    was_in, room = true, room - 1
  elseif not was_in then
    refused = refused + 1
  end
  if was_in then watched[#watched + 1] = user end
  -- No ref is empty: this asks of everybody in the list.
  local _, _, held = without(list_at(prefix .. 'route:' .. user), '')
  seen[#seen + 1] = held and '1' or '0'
end
-- As routes: the set may have been lost without the list.
if #watched > 0 then redis.call('SADD', set, unpack(watched)) end
return { table.concat(seen), refused }
