-- 1 MB up.
wrk.method = "POST"
wrk.path = "/sink"
wrk.headers["Content-Type"] = "application/octet-stream"
wrk.body = string.rep("x", 1000000)
