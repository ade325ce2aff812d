-- Ends an epoch; its routes and watches are still to be swept. ARGV: prefix, ref.
local ref = ARGV[2]
local id, epoch = id_and_epoch(ref)
local lease, gateways = prefix .. 'gw:' .. id, only('hash', prefix .. 'gateways')
if text_of(lease) == epoch then redis.call('DEL', lease) end
if redis.call('HGET', gateways, ref:sub(1, 16)) == epoch then redis.call('HDEL', gateways, ref:sub(1, 16)) end
redis.call('DEL', prefix .. 'inbox:' .. life(ref), prefix .. 'claim:' .. life(ref))
-- Until the sweep is through: it may be interrupted.
redis.call('SADD', only('set', prefix .. 'buried'), ref)
