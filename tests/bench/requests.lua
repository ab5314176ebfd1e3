-- wrk's requests, made once and sent in turn, and its figures in one line for tests.bench.load.
-- Arguments: METHOD PREFIX SUFFIX KEYS BODY. The target is PREFIX key SUFFIX; KEYS 0 means PREFIX.

local requests = {}
local sent = 0

function init(arguments)
  local method, prefix, suffix, keys = arguments[1], arguments[2], arguments[3], arguments[4]
  local body = arguments[5]
  if body == "" then body = nil end
  if tonumber(keys) == 0 then requests[1] = wrk.format(method, prefix, nil, body) end
  for key = 1, tonumber(keys) do
    requests[key] = wrk.format(method, prefix .. "key" .. key .. suffix, nil, body)
  end
end

function request()
  sent = sent + 1
  return requests[sent % #requests + 1]
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format("figures %d %d %.4f %.4f\n", summary.requests, failed,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
