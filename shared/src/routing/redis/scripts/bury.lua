-- Everything about this death has been said: the gateway is no longer one of them, and its routes are swept when its
-- inbox has expired. ARGV: prefix, ref.
local ref = ARGV[2]
if holds(ref) then return end
local id, gateways = ref:sub(1, 16), only('hash', prefix .. 'gateways')
local _, epoch = id_and_epoch(ref)
if redis.call('HGET', gateways, id) == epoch then redis.call('HDEL', gateways, id) end
redis.call('SADD', only('set', prefix .. 'buried'), ref)
redis.call('DEL', prefix .. 'claim:' .. life(ref))
