/** An exec's WebSocket, passed through as it is: only the handshake changes, where the caller's credential gives way to ours. */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { WebSocket, WebSocketServer } from 'ws'
import type { Credential } from './credentials.ts'
import { Failure } from './failure.ts'
import type { Timeouts } from './upstream.ts'

/** One frame; output frames of an exec are some tens of KiB. */
const MAX_FRAME_BYTES = 1024 * 1024
/** What may wait for a side that doesn't read, before the other side is no longer read. */
const HIGH_WATER_BYTES = 1024 * 1024
const RESUME_MS = 20

export interface ProxyOptions {
  readonly request: IncomingMessage
  readonly socket: Duplex
  readonly head: Buffer
  readonly target: URL
  readonly credential: Credential
  readonly timeouts: Timeouts
}

/** Resolves once both sides are open. Throws a Failure while nothing has been answered yet. */
export async function proxySocket({ request, socket, head, target, credential, timeouts }: ProxyOptions): Promise<void> {
  const url = new URL(target)
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  for (const [name, value] of credential.query) url.searchParams.append(name, value)
  const isSpeakable = credential.token !== null && /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(credential.token)
  const upstream = new WebSocket(url, isSpeakable && credential.token !== null ? ['Bearer', credential.token] : [], {
    headers: { ...credential.headers, 'user-agent': 'berth-capability' },
    handshakeTimeout: timeouts.connectMs,
    followRedirects: false,
    perMessageDeflate: false,
    maxPayload: MAX_FRAME_BYTES,
  })
  await new Promise<void>((resolve, reject) => {
    upstream.once('open', resolve)
    upstream.once('unexpected-response', (_, response) => {
      response.resume()
      const isAuth = response.statusCode === 401 || response.statusCode === 403
      reject(new Failure(isAuth ? 'upstream_auth' : 'upstream_error', `The upstream refused the stream (HTTP ${response.statusCode ?? 0}).`))
      upstream.terminate()
    })
    upstream.once('error', (error) => reject(new Failure('upstream_unreachable', `${url.host} can't be reached for exec.`, { cause: error })))
  })
  upstream.on('error', () => upstream.terminate())
  // The caller's token stands in its list of subprotocols; only its name is answered.
  const server = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: MAX_FRAME_BYTES, handleProtocols: (offered) => (offered.has('Bearer') ? 'Bearer' : false) })
  server.handleUpgrade(request, socket, head, (caller) => {
    caller.on('error', () => caller.terminate())
    pass(caller, upstream)
    pass(upstream, caller)
  })
}

function pass(from: WebSocket, to: WebSocket): void {
  from.on('message', (data, isBinary) => {
    if (to.readyState !== WebSocket.OPEN) return
    to.send(data, { binary: isBinary })
    if (to.bufferedAmount < HIGH_WATER_BYTES) return
    from.pause()
    const timer = setInterval(() => {
      if (to.readyState === WebSocket.OPEN && to.bufferedAmount >= HIGH_WATER_BYTES) return
      clearInterval(timer)
      from.resume()
    }, RESUME_MS)
  })
  from.on('close', (code, reason) => {
    const isSendable = code >= 1000 && code <= 4999 && ![1004, 1005, 1006, 1015].includes(code)
    if (to.readyState === WebSocket.OPEN) to.close(isSendable ? code : 1000, reason)
    else to.terminate()
  })
}
