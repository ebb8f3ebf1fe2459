// A breaker service around a breaker library of npm: `node service.mjs LIBRARY`.
//
// The library decides; what stands here is the same for all of them: `GET /call`, `/breakers`, `/breakers/events`, a ready
// line, and the end on SIGTERM or when standard input ends. Times are of the monotonic clock, in nanoseconds. Each
// call to the upstream has a connection of its own, and is aborted at the time limit or when the caller goes away.

import http from 'node:http'
import { randomBytes } from 'node:crypto'

const RING_SIZE = 4096
const KEEP_ALIVE_MS = 1000
const LEAVE_MS = 500

class UpstreamFailed extends Error {}

function whole (name, fallback) {
  const text = process.env[name] || String(fallback)
  if (!/^[1-9][0-9]*$/.test(text)) fail(`${name}='${text}' is not a whole number above 0`)
  return Number(text)
}

function fail (message) {
  process.stderr.write(`${message}\n`)
  process.exit(1)
}

const settings = {
  library: process.argv[2],
  upstream: (process.env.UPSTREAM || fail('UPSTREAM is not set')).replace(/\/$/, ''),
  breaker: process.env.BREAKER || 'dependency',
  failures: whole('FAILURES', 3),
  waitMs: whole('WAIT_MS', 1000),
  permitted: whole('PERMITTED', 1),
  successes: whole('SUCCESSES', 1),
  timeoutMs: whole('CALL_TIMEOUT_MS', 300)
}
const instance = process.env.INSTANCE || 'service-1'
const boot = randomBytes(6).toString('hex')

// JSON has no 64-bit integers, and a double holds nanoseconds exactly for the first 104 days after the machine's start.
const nowNs = () => Number(process.hrtime.bigint())

// ------------------------------------------------------------------------------------------------ transitions

const ring = []
const readers = new Set()
let lastSeq = 0

function emit (from, to) {
  const atNs = nowNs()
  const event = {
    seq: ++lastSeq, breaker: settings.breaker, instance, boot, from, to, at_ns: atNs, since_ns: atNs
  }
  ring.push(event)
  if (ring.length > RING_SIZE) ring.shift()
  for (const reader of readers) reader.write(told(event))
}

const told = event => `id: ${event.seq}\ndata: ${JSON.stringify(event)}\n\n`

function stream (request, response, url) {
  const asked = url.searchParams.get('since') || request.headers['last-event-id'] || '0'
  if (!/^[0-9]+$/.test(asked)) return say(response, 400, 'since must be a whole number')
  // A number of an earlier start: everything here is news to this reader.
  const since = Number(asked) > lastSeq || (url.searchParams.get('boot') ?? boot) !== boot ? 0 : Number(asked)
  response.writeHead(200, {
    'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store', 'X-Instance': instance
  })
  response.write(`: ${instance} ${boot}\n\n`)
  for (const event of ring) if (event.seq > since) response.write(told(event))
  readers.add(response)
  const alive = setInterval(() => response.write(`: ${nowNs()}\n\n`), KEEP_ALIVE_MS)
  response.on('close', () => { clearInterval(alive); readers.delete(response) })
}

// ------------------------------------------------------------------------------------------------------ calls

function ask (requestId, left) {
  return new Promise((resolve, reject) => {
    const limit = new AbortController()
    const timer = setTimeout(() => limit.abort(), settings.timeoutMs)
    const leave = () => limit.abort()
    left.addEventListener('abort', leave, { once: true })
    const over = then => value => { clearTimeout(timer); left.removeEventListener('abort', leave); then(value) }
    const [done, lost] = [over(resolve), over(reject)]
    const options = { agent: false, signal: limit.signal, headers: requestId ? { 'X-Request-Id': requestId } : {} }
    http.get(`${settings.upstream}/`, options, answer => {
      answer.on('end', () => answer.statusCode >= 500 ? lost(new UpstreamFailed(answer.statusCode)) : done())
      answer.on('error', lost)
      answer.resume()
    }).on('error', lost)
  })
}

async function call (request, response) {
  const caller = new AbortController()
  response.on('close', () => { if (!response.writableFinished) caller.abort() })
  const word = await breaker.guard(() => ask(request.headers['x-request-id'], caller.signal))
  const status = { ok: 200, failed: 502, rejected: 503 }[word]
  response.writeHead(status, { 'X-Breaker': word, 'X-Instance': instance, 'Content-Type': 'text/plain' })
  response.end(`${word}\n`)
}

function say (response, status, error) {
  response.writeHead(status, { 'Content-Type': 'application/json' })
  response.end(JSON.stringify({ error }))
}

function breakers (response) {
  const { library, failures, waitMs, permitted, successes, timeoutMs } = settings
  const spec = {
    dialect: library, failures, wait_ms: waitMs, permitted, successes, timeout_ms: timeoutMs
  }
  response.writeHead(200, { 'Content-Type': 'application/json' })
  response.end(JSON.stringify({
    instance,
    boot,
    breakers: { [settings.breaker]: { state: breaker.state(), spec } },
    last_seq: lastSeq,
    now_ns: nowNs()
  }))
}

// ---------------------------------------------------------------------------------------------- listen and end

const LIBRARIES = ['cockatiel', 'opossum']
if (!LIBRARIES.includes(settings.library)) fail(`usage: node service.mjs ${LIBRARIES.join('|')}`)
const { make } = await import(`./${settings.library}.mjs`)
let breaker
try { breaker = make(settings, emit) } catch (error) { fail(error.message) }

const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://service')
  if (request.method !== 'GET') say(response, 405, 'only GET')
  else if (url.pathname === '/call') call(request, response)
  else if (url.pathname === '/breakers') breakers(response)
  else if (url.pathname === '/breakers/events') stream(request, response, url)
  else say(response, 404, 'no such route')
})

function end () {
  server.close(() => process.exit(0))
  for (const reader of readers) reader.end()
  server.closeIdleConnections()
  setTimeout(() => process.exit(0), LEAVE_MS)
}

process.on('SIGTERM', end)
process.on('SIGINT', end)
process.stdin.on('end', end).resume()
const [host, port] = (process.env.LISTEN || '127.0.0.1:0').split(/:(?=[0-9]+$)/)
server.on('error', error => fail(error.message))
server.listen(Number(port), host, () => {
  const url = `http://${host}:${server.address().port}`
  process.stdout.write(JSON.stringify({ ready: true, service: settings.library, instance, boot, pid: process.pid, url }) + '\n')
})
