-- HAProxy asks Portcullis whether a request may pass, and reports what came of
-- it. haproxy.md beside this file says how; haproxy.cfg shows it in use.
--
--   lua-load-per-thread /etc/haproxy/portcullis.lua
--   http-request  lua.portcullis_check
--   http-response lua.portcullis_report if { status 401 403 404 }
--
-- Where Portcullis is: [decide] address in its configuration. A name would be
-- resolved for each request; an address isn't.
local portcullis = os.getenv("PORTCULLIS_DECIDE") or "127.0.0.1:8090"
-- How long it may take to answer, in milliseconds.
local patience = 1000

local check_url = "http://" .. portcullis .. "/check"
local report_url = "http://" .. portcullis .. "/report"

-- What the client has sent, its own X-Forwarded-For to the left of its address.
local function forwarded_for(headers, source)
    local said = headers["x-forwarded-for"]
    if not said then
        return source
    end
    local all = {}
    for i = 0, #said do
        all[#all + 1] = said[i]
    end
    all[#all + 1] = source
    return table.concat(all, ", ")
end

-- Text within quotes of JSON. Bytes that aren't UTF-8 would make the whole line
-- unreadable, so those above ASCII are escaped as they are in a URL.
local function quoted(text)
    text = text:gsub('[%c"\\\127]', function(c) return string.format("\\u%04x", c:byte()) end)
    return '"' .. text:gsub("[\128-\255]", function(c) return string.format("%%%02X", c:byte()) end) .. '"'
end

-- The id of Basic credentials.
local function basic_id(txn, authorization)
    local encoded = authorization and authorization:match("^[Bb][Aa][Ss][Ii][Cc]%s+(%S+)%s*$")
    local pair = encoded and txn.c:b64dec(encoded)
    return pair and pair:match("^([^:]+):")
end

core.register_action("portcullis_check", { "http-req" }, function(txn)
    local headers = txn.http:req_get_headers()
    local source = txn.f:src()
    local ask = {
        ["x-forwarded-for"] = { forwarded_for(headers, source) },
        ["x-forwarded-method"] = { txn.f:method() },
        ["x-forwarded-uri"] = { txn.f:pathq() },
    }
    -- All of them: of two, the service might look at the other.
    local authorization = headers["authorization"]
    if authorization then
        ask["authorization"] = {}
        for i = 0, #authorization do
            ask["authorization"][i + 1] = authorization[i]
        end
    end
    local id = txn:get_var("txn.portcullis_id")
    if id then
        ask["x-login-id"] = { id }
    end
    local answer = core.httpclient():get({ url = check_url, headers = ask, timeout = patience })
    local said = answer and answer.status or 0
    if said == 200 then
        local decided = answer.headers["x-portcullis-source"]
        txn:set_var("txn.portcullis_source", decided and decided[0] or source)
        txn:set_var("txn.portcullis_method", txn.f:method())
        txn:set_var("txn.portcullis_path", txn.f:path())
        id = id or basic_id(txn, authorization and authorization[0])
        if id then
            txn:set_var("txn.portcullis_client", id)
        end
        return
    end
    if said == 423 or said == 429 or said == 400 then
        local reply = txn:reply({ status = said, body = answer.body })
        for _, name in ipairs({ "retry-after", "content-type", "cache-control" }) do
            local value = answer.headers[name]
            if value then
                reply:add_header(name, value[0])
            end
        end
        txn:done(reply)
    end
    -- Portcullis isn't there, or doesn't trust us: the request passes, and the log says so.
    txn:Warning("portcullis: " .. check_url .. " answers " .. said .. "; the request passes unasked")
end, 0)

core.register_action("portcullis_report", { "http-res" }, function(txn)
    local source = txn:get_var("txn.portcullis_source")
    -- Nobody asked about it, so it was none of ours: an answer of HAProxy's own, say.
    if not source then
        return
    end
    local client = txn:get_var("txn.portcullis_client")
    local event = '{"source":' .. quoted(source)
        .. (client and ',"client":' .. quoted(client) or "")
        .. ',"method":' .. quoted(txn:get_var("txn.portcullis_method"))
        .. ',"path":' .. quoted(txn:get_var("txn.portcullis_path"))
        .. ',"status":' .. txn.f:status() .. "}"
    local answer = core.httpclient():post({
        url = report_url,
        headers = { ["content-type"] = { "application/json" } },
        body = event,
        timeout = patience,
    })
    if not answer or answer.status ~= 200 then
        txn:Warning("portcullis: a report wasn't taken: " .. (answer and (answer.body or answer.status) or "no answer"))
    end
end, 0)
