-- Gateways whose lease is not theirs any more, each told to one caller within a while. ARGV: prefix, that while in ms.
-- Answers how many leases hold, and id (bytes) and epoch of each dead.
local held, dead = 0, {}
local all = redis.call('HGETALL', prefix .. 'gateways')
for at = 1, #all, 2 do
  local id, epoch = uuid(all[at]), all[at + 1]
  if redis.call('GET', prefix .. 'gw:' .. id) == epoch then
    held = held + 1
  elseif redis.call('SET', prefix .. 'claim:' .. id .. ':' .. epoch, '', 'NX', 'PX', ARGV[2]) then
    dead[#dead + 1] = all[at]
    dead[#dead + 1] = epoch
  end
end
return { held, dead }
