-- Deletes some routes and watches of an epoch that is over. Several may do it at once: each takes others.
-- ARGV: prefix, ref, how many of each. Answers how many it has met; none: there are no more.
local ref, met = ARGV[2], 0
for _, kind in ipairs({ { 'routes:', 'route:' }, { 'watches:', 'watch:' } }) do
  local users = redis.call('SPOP', only('set', prefix .. kind[1] .. life(ref)), ARGV[3])
  for _, user in ipairs(users) do
    local key = prefix .. kind[2] .. user
    local rest, was_in = without(list_at(key), ref)
    if was_in then put(key, rest) end
  end
  met = met + #users
end
redis.call(met == 0 and 'SREM' or 'SADD', only('set', prefix .. 'buried'), ref)
return met
