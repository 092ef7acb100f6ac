-- Load for wrk. Arguments: the way, the pause before each request in ms, the hosts.
--
-- "keep" and "close" (one request a connection) ask for the hosts in turn and compare each answer with the host that was asked for. "flat"
-- asks for one host as fast as it can, with nothing of its own in the way: wrk calls what is defined, so nothing is.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  wrong = 0
  local way, pause = args[1], tonumber(args[2])
  if way == "flat" then
    wrk.headers["Host"] = args[3]
    return
  end

  local requests, turn = {}, 0
  for index = 3, #args do
    local headers = { ["Host"] = args[index] }
    if way == "close" then
      headers["Connection"] = "close"
    end
    table.insert(requests, wrk.format("GET", "/", headers))
  end

  function delay()
    return pause
  end

  function request()
    turn = turn % #requests + 1
    return requests[turn]
  end

  -- A task says its app, and the host that it was asked for.
  function response(status, headers, body)
    if status == 200 then
      local app = body:match("app: /group%-%d+/(app%-%d+)\n")
      local host = body:match("request%-host: (app%-%d+)%.")
      if app ~= host then
        wrong = wrong + 1
      end
    end
  end
end

function done(summary, latency, requests)
  local misled = 0
  for _, thread in ipairs(threads) do
    misled = misled + thread:get("wrong")
  end
  local errors = summary.errors
  io.write(string.format("FIGURES requests=%d duration_us=%d connect=%d read=%d write=%d status=%d timeout=%d",
    summary.requests, summary.duration, errors.connect, errors.read, errors.write, errors.status, errors.timeout))
  io.write(string.format(" wrong=%d p99_us=%d max_us=%d\n", misled, latency:percentile(99), latency.max))
end
