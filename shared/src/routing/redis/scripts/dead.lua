-- Gateways whose lease is not theirs any more, each told to one caller within a while. ARGV: prefix, that while in ms.
-- Answers how many leases hold, and id (bytes) and epoch of each dead.
local held, dead = 0, {}
local gateways = only('hash', prefix .. 'gateways')
-- It is read by whoever has asked, and so are the routes of the dead.
only('set', prefix .. 'buried')
local all = redis.call('HGETALL', gateways)
for at = 1, #all, 2 do
  local id, epoch = uuid(all[at]), all[at + 1]
  if #all[at] ~= 16 or not number_in(epoch) then
    -- No gateway's: one that lives writes itself again.
    redis.call('HDEL', gateways, all[at])
  elseif text_of(prefix .. 'gw:' .. id) == epoch then
    held = held + 1
  elseif redis.call('SET', prefix .. 'claim:' .. id .. ':' .. epoch, '', 'NX', 'PX', ARGV[2]) then
    only('set', prefix .. 'routes:' .. id .. ':' .. epoch)
    dead[#dead + 1] = all[at]
    dead[#dead + 1] = epoch
  end
end
return { held, dead }
