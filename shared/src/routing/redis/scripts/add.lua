-- Routes to one gateway. ARGV: prefix, ref, whether this is said again because the first answer was lost ('1'), users.
-- Answers nothing where the lease is not this epoch's; otherwise those who were not online before. Said again, those who
-- are online through this gateway alone: whom the lost answer named is among them.
local me, again, users = ARGV[2], ARGV[3] == '1', ARGV[4]
if not holds(me) then return false end
local came, new = {}, {}
for at = 1, #users, USER do
  local user = users:sub(at, at + USER - 1)
  local key = prefix .. 'route:' .. user
  local list = redis.call('GET', key) or ''
  local _, was_in, held = without(list, me)
  if not was_in then
    redis.call('SET', key, list .. me)
    new[#new + 1] = user
  end
  if not held and (again or not was_in) then came[#came + 1] = user end
end
if #new > 0 then redis.call('SADD', prefix .. 'routes:' .. life(me), unpack(new)) end
return table.concat(came)
