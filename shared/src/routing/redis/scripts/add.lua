-- Routes to one gateway. ARGV: prefix, ref, whether this is said again because the first answer was lost ('1'), users.
-- Answers nothing where the lease is not this epoch's; otherwise those who were not online before. Said again, those who
-- are online through this gateway alone: whom the lost answer named is among them.
local me, again, users = ARGV[2], ARGV[3] == '1', ARGV[4]
if not holds(me) then return false end
local came, all = {}, {}
for at = 1, #users, USER do
  local user = users:sub(at, at + USER - 1)
  local key = prefix .. 'route:' .. user
  local list = list_at(key)
  local _, was_in, held = without(list, me)
  if not was_in then redis.call('SET', key, list .. me) end
  if not held and (again or not was_in) then came[#came + 1] = user end
  all[#all + 1] = user
end
-- Also whose list names it already: either may have been lost without the other.
if #all > 0 then redis.call('SADD', only('set', prefix .. 'routes:' .. life(me)), unpack(all)) end
return table.concat(came)
