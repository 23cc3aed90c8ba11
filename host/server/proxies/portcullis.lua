-- HAProxy asks Portcullis whether a request may pass, and reports what came of
-- it. haproxy.md beside this file says how; haproxy.cfg shows it in use.
--
--   lua-load-per-thread /etc/haproxy/portcullis.lua
--   http-request  lua.portcullis_login username if is_login is_login_post
--   http-request  lua.portcullis_check
--   http-response lua.portcullis_report if { status 401 403 404 }
--
-- Where Portcullis is: [decide] address in its configuration. A name would be
-- resolved for each request; an address isn't.
local portcullis = os.getenv("PORTCULLIS_DECIDE") or "127.0.0.1:8090"
-- Whether requests pass, too, that Portcullis doesn't answer for.
local passes_unasked = os.getenv("PORTCULLIS_UNASKED") == "pass"
-- How long it may take to answer, in milliseconds.
local patience = 1000

local check_url = "http://" .. portcullis .. "/check"
local report_url = "http://" .. portcullis .. "/report"

local function refuse(txn, status)
    -- It never was a request, so nothing is reported of it.
    txn:unset_var("txn.portcullis_source")
    txn:done(txn:reply({ status = status }))
end

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

-- Text within quotes of JSON.
local function quoted(text)
    return '"' .. text:gsub('[%c"\\]', function(c) return string.format("\\u%04x", c:byte()) end) .. '"'
end

-- The id of Basic credentials.
local function basic_id(txn, authorization)
    local encoded = authorization and authorization:match("^[Bb][Aa][Ss][Ii][Cc]%s+(%S+)%s*$")
    local pair = encoded and txn.c:b64dec(encoded)
    return pair and pair:match("^([^:]+):")
end

local function decoded(text)
    text = text:gsub("%+", " ")
    return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

-- A field's name as the most lenient of services reads it.
local function lenient(name)
    name = name:gsub("\0.*", ""):gsub("^%s+", ""):lower()
    return (name:gsub("[%[%]]", ""):gsub("[%s%.]", "_"))
end

-- The values of a field, in a body or a query, however a service reads names and
-- with `;` between fields, too.
local function values_of(field, text)
    local values = {}
    for piece in text:gmatch("[^&;]+") do
        local name, value = piece:match("^([^=]*)=?(.*)$")
        if lenient(decoded(name)) == lenient(field) or name:lower():find("%u", 1, true) then
            values[#values + 1] = value
        end
    end
    return values
end

-- The value of a field as it is meant to be written.
local function value_of(field, text)
    for piece in text:gmatch("[^&]+") do
        local name, value = piece:match("^([^=]*)=(.*)$")
        if name and decoded(name) == field then
            return value
        end
    end
end

-- Whose login a form is: the one value of that field of the body, which
-- `http-request wait-for-body` has to have waited for. What a service may read
-- in another way is refused, as at Portcullis' own gate (rule 7).
core.register_action("portcullis_login", { "http-req" }, function(txn, field)
    local kind = (txn.f:req_hdr("content-type") or ""):match("^[^;%s]*"):lower()
    local kinds = txn.f:req_hdr_cnt("content-type")
    if kinds ~= 1 or kind ~= "application/x-www-form-urlencoded" or txn.f:req_hdr("content-encoding") then
        return refuse(txn, 415)
    end
    -- Without a length nobody knows whether all of the body is there.
    local length = tonumber(txn.f:req_hdr("content-length") or "")
    if not length then
        return refuse(txn, 411)
    end
    local body = txn.f:req_body() or ""
    if #body < length then
        return refuse(txn, 413)
    end
    local values, written = values_of(field, body), value_of(field, body)
    if #values ~= 1 or values[1] ~= written or #values_of(field, txn.f:query() or "") > 0 then
        return refuse(txn, 400)
    end
    txn:set_var("txn.portcullis_id", decoded(written))
end, 1)

core.register_action("portcullis_check", { "http-req" }, function(txn)
    local headers = txn.http:req_get_headers()
    local source = txn.f:src()
    local method, path = txn.f:method(), txn.f:path()
    -- Whatever the answer: what comes of a request that passes is reported.
    txn:set_var("txn.portcullis_source", source)
    txn:set_var("txn.portcullis_method", method)
    txn:set_var("txn.portcullis_path", path)
    local ask = {
        ["x-forwarded-for"] = { forwarded_for(headers, source) },
        ["x-forwarded-method"] = { method },
        ["x-forwarded-uri"] = { txn.f:pathq() },
    }
    -- Two of them: of several, the service might look at any, and Portcullis
    -- refuses two as it would all. HAProxy's client has no bound of its own.
    local authorization = headers["authorization"]
    if authorization then
        ask["authorization"] = {}
        for i = 0, math.min(#authorization, 1) do
            ask["authorization"][i + 1] = authorization[i]
        end
    end
    local id = txn:get_var("txn.portcullis_id")
    if id then
        ask["x-login-id"] = { id }
    end
    -- HAProxy's client writes values as they are: a line's end would begin
    -- another header, or another request of ours.
    for _, values in pairs(ask) do
        for _, value in ipairs(values) do
            if value:find("%c") then
                return refuse(txn, 400)
            end
        end
    end
    id = id or basic_id(txn, authorization and authorization[0])
    if id then
        txn:set_var("txn.portcullis_client", id)
    end

    local answer = core.httpclient():get({ url = check_url, headers = ask, timeout = patience })
    local said = answer and answer.status or 0
    if said == 200 then
        local decided = answer.headers["x-portcullis-source"]
        if decided then
            txn:set_var("txn.portcullis_source", decided[0])
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
        txn:unset_var("txn.portcullis_source")
        return txn:done(reply)
    end
    -- What Portcullis can't make anything of is the client's doing.
    if said >= 400 and said < 500 and said ~= 403 then
        return refuse(txn, 400)
    end
    -- Portcullis isn't there, or doesn't trust us.
    local comes = passes_unasked and "the request passes unasked" or "the request is refused"
    txn:Warning("portcullis: " .. check_url .. " answers " .. said .. "; " .. comes)
    if not passes_unasked then
        return refuse(txn, 503)
    end
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
