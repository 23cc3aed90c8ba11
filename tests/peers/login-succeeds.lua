-- Logins by a form, each by a source and a client auth id of its own, all of which succeed. Others in each run: its number
-- is the first argument.
local n = 0
init = function(args)
  n = tonumber(args[1] or 0) * 200000
end
request = function()
  n = n + 1
  local ip = string.format("127.%d.%d.%d", 1 + math.floor(n / 65536) % 250, math.floor(n / 256) % 256, n % 256)
  local headers = {["X-Forwarded-For"] = ip, ["Content-Type"] = "application/x-www-form-urlencoded"}
  return wrk.format("POST", "/login-right", headers, "username=id" .. n .. "&password=guess")
end
