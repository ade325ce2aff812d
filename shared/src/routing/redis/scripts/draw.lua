-- Generic cell rate algorithm, as in `cells.rs`. Kept for a subject: when it would be served if it were made to queue.
-- ARGV: prefix, then for each draw: the end of its key, cost and burst in µs, whether it is forced ('1').
-- Answers for each how far ahead of now that is, in µs, or below zero how long to wait.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local drawn = {}
for at = 2, #ARGV, 4 do
  local key = prefix .. 'limit:' .. ARGV[at]
  local ahead = math.max((number_in(text_of(key)) or 0) - now, 0) + tonumber(ARGV[at + 1])
  local over = ahead - tonumber(ARGV[at + 2])
  if over > 0 and ARGV[at + 3] ~= '1' then
    drawn[#drawn + 1] = -over
  else
    if ahead > 0 then redis.call('SET', key, string.format('%.0f', now + ahead), 'PX', math.ceil(ahead / 1000)) end
    drawn[#drawn + 1] = ahead
  end
end
return drawn
