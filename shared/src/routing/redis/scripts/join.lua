-- A new epoch of a gateway, above each that it ever had, with an empty inbox; the earlier ones are over.
-- ARGV: prefix, id (bytes), the last epoch that its process knows of or 0, lease in ms, life of the inbox in ms.
-- Answers the epoch, then the earlier ones, whose routes are still to be swept.
local id, name = ARGV[2], uuid(ARGV[2])
local lease, gateways = prefix .. 'gw:' .. name, only('hash', prefix .. 'gateways')
local buried = only('set', prefix .. 'buried')
local time = redis.call('TIME')
-- Microseconds: unique after everything was forgotten. A clock that was set back is behind the process' own memory.
local epoch = time[1] * 1000000 + time[2]
local earlier, answer = {}, { '' }
for _, text in ipairs({ ARGV[3], redis.call('HGET', gateways, id) or '', text_of(lease) }) do
  local number = number_in(text) or 0
  if number >= epoch then epoch = number + 1 end
  if number > 0 and not earlier[text] then
    earlier[text] = true
    redis.call('DEL', prefix .. 'inbox:' .. name .. ':' .. text, prefix .. 'claim:' .. name .. ':' .. text)
    redis.call('SADD', buried, id .. struct.pack('>I8', number))
    answer[#answer + 1] = text
  end
end
answer[1] = string.format('%.0f', epoch)
local inbox = prefix .. 'inbox:' .. name .. ':' .. answer[1]
-- The way to an empty stream.
redis.call('XGROUP', 'CREATE', inbox, 'none', '$', 'MKSTREAM')
redis.call('XGROUP', 'DESTROY', inbox, 'none')
redis.call('PEXPIRE', inbox, ARGV[5])
redis.call('SET', lease, answer[1], 'PX', ARGV[4])
redis.call('HSET', gateways, id, answer[1])
return answer
