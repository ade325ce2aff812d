-- Takes a gateway out of people's lists. ARGV: prefix, ref, said again ('1', as for adding), users, and which lists:
-- the set of their users ('routes:'), the list of each ('route:'). Answers those whose list names no lease any more.
local me, again, users, set, list_of = ARGV[2], ARGV[3] == '1', ARGV[4], ARGV[5], ARGV[6]
local went, all = {}, {}
for at = 1, #users, USER do
  local user = users:sub(at, at + USER - 1)
  local key = prefix .. list_of .. user
  local rest, was_in, held = without(list_at(key), me)
  -- With nobody left also what is no list goes: nobody else would delete it.
  if was_in or rest == '' then put(key, rest) end
  if not held and (again or was_in) then went[#went + 1] = user end
  all[#all + 1] = user
end
redis.call('SREM', only('set', prefix .. set .. life(me)), unpack(all))
return table.concat(went)
