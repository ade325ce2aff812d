-- Extends a lease that is still this epoch's, and its inbox, and mends what else the gateway is known by.
-- ARGV: prefix, ref, lease in ms, life of the inbox in ms.
-- Answers nothing where either is lost; otherwise entries ever written, people routed, people watched.
local ref = ARGV[2]
local id, epoch = id_and_epoch(ref)
local lease, inbox = prefix .. 'gw:' .. id, prefix .. 'inbox:' .. id .. ':' .. epoch
if text_of(lease) ~= epoch or redis.call('PEXPIRE', only('stream', inbox), ARGV[4]) == 0 then return false end
redis.call('PEXPIRE', lease, ARGV[3])
-- Who is not in there hears of no session that ended.
local gateways, bytes = only('hash', prefix .. 'gateways'), ref:sub(1, 16)
if redis.call('HGET', gateways, bytes) ~= epoch then redis.call('HSET', gateways, bytes, epoch) end
local stream, written = redis.call('XINFO', 'STREAM', inbox), 0
for at = 1, #stream, 2 do
  -- `1-n` is the (n+1)th entry.
  local last = stream[at] == 'last-generated-id' and stream[at + 1]:match('^1%-(%d+)$')
  if last then written = tonumber(last) + 1 end
end
local routes, watches = only('set', prefix .. 'routes:' .. life(ref)), only('set', prefix .. 'watches:' .. life(ref))
return { written, redis.call('SCARD', routes), redis.call('SCARD', watches) }
