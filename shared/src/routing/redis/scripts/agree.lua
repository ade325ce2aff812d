-- What all processes must have alike. ARGV: prefix, how long it holds in ms, then setting and value in turn. Answers the
-- settings in which somebody else has another value; if there are none, all of them hold on.
local differ = {}
for at = 3, #ARGV, 2 do
  local others = text_of(prefix .. 'terms:' .. ARGV[at])
  if others ~= '' and others ~= ARGV[at + 1] then differ[#differ + 1] = ARGV[at] end
end
if #differ > 0 then return differ end
for at = 3, #ARGV, 2 do redis.call('SET', prefix .. 'terms:' .. ARGV[at], ARGV[at + 1], 'PX', ARGV[2]) end
return differ
