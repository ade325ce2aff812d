-- In front of every script. A gateway in one life is a *ref*: 16 bytes of its id, 8 of its epoch, most significant first.
-- Lists of them (`route:<user>`, `watch:<user>`) are refs in a row; an empty list is no key. ARGV[1] is before every key.
local prefix = ARGV[1]
local REF, USER = 24, 16

-- The text of an id's 16 bytes, as in logs.
local function uuid(bytes)
  local hex = bytes:gsub('.', function(byte) return string.format('%02x', byte:byte()) end)
  return table.concat({ hex:sub(1, 8), hex:sub(9, 12), hex:sub(13, 16), hex:sub(17, 20), hex:sub(21) }, '-')
end

local function id_and_epoch(ref)
  return uuid(ref:sub(1, 16)), string.format('%.0f', struct.unpack('>I8', ref:sub(17)))
end

-- What comes after `inbox:`, `routes:`, `watches:` and `claim:`.
local function life(ref)
  local id, epoch = id_and_epoch(ref)
  return id .. ':' .. epoch
end

-- A key may hold what we never wrote. It is then as good as lost, and makes way for what belongs there: gateways know what
-- is so, and one damaged key shall not fail a call that is about many.

-- The key, which holds a `kind` or nothing from now on.
local function only(kind, key)
  local is = redis.call('TYPE', key).ok
  if is ~= kind and is ~= 'none' then redis.call('DEL', key) end
  return key
end

-- The text at a key; empty where there is none.
local function text_of(key)
  local text = redis.pcall('GET', key)
  return type(text) == 'string' and text or ''
end

-- The number in a text that we could have written; nothing where we could not. Up to 2^52 µs they are exact: until 2112.
local function number_in(text)
  local number = text and text:match('^%d+$') and tonumber(text)
  return number and number <= 2 ^ 52 and number or nil
end

-- Whether the gateway's lease is this epoch's. Asked once for each within a call.
local known = {}
local function holds(ref)
  if known[ref] == nil then
    local id, epoch = id_and_epoch(ref)
    known[ref] = text_of(prefix .. 'gw:' .. id) == epoch
  end
  return known[ref]
end

local function put(key, list)
  if list == '' then redis.call('DEL', key) else redis.call('SET', key, list) end
end

-- The list of gateways at a key. What is not a whole ref names nobody, here and where lists are only read.
local function list_at(key)
  local list = text_of(key)
  return list:sub(1, #list - #list % REF)
end

-- The list without `ref`; whether it was in it; whether anybody else in it holds a lease.
local function without(list, ref)
  if list == ref then return '', true, false end
  local rest, was_in, held = {}, false, false
  for at = 1, #list, REF do
    local other = list:sub(at, at + REF - 1)
    if other == ref then
      was_in = true
    else
      rest[#rest + 1] = other
      held = held or holds(other)
    end
  end
  return table.concat(rest), was_in, held
end
