-- Each source (X-Forwarded-For 127.a.b.c) asks for 3 different missing paths, a thousand requests apart: 404, 404, then
-- 423. Other sources in each run: its number is the first argument.
local n, first = 0, 0
local paths = {"/nf/.env", "/nf/wp-login.php", "/nf/boaform/admin/formLogin"}
init = function(args)
  first = tonumber(args[1] or 0) * 200000
end
request = function()
  local block = math.floor(n / 3000); local k = n % 3000; n = n + 1
  local id = first + block * 1000 + (k % 1000)
  local ip = string.format("127.%d.%d.%d", 1 + math.floor(id / 65536) % 250, math.floor(id / 256) % 256, id % 256)
  return wrk.format("GET", paths[1 + math.floor(k / 1000)], {["X-Forwarded-For"] = ip})
end
