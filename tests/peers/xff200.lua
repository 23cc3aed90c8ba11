-- A thousand good sources, in turn.
local n = 0
request = function()
  n = n + 1
  local id = n % 1000
  local source = string.format("100.64.%d.%d", math.floor(id / 250), id % 250 + 1)
  return wrk.format("GET", "/", { ["X-Forwarded-For"] = source })
end
