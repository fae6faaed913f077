/**
 * The REST adapter: one HTTP server that answers in JSON, `no-store` throughout, 404 for what isn't there and 405
 * with `Allow` for what can't be done to it. A path of exec also takes a POST with a JSON body, and an upgrade to a
 * WebSocket, which goes through to the upstream as it is.
 */
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { Failure, asFailure, invalid } from './failure.ts'
import { checkNavigation, checkOrigin, makeGate, requestUrl } from './guard.ts'
import type { Gate } from './guard.ts'
import { proxySocket } from './exec-proxy.ts'
import { forwardRequest } from './forward.ts'
import { readRestInputs, unitInputs } from './inputs.ts'
import { MAX_DEPTH, TooDeep, parseJson } from './json.ts'
import type { UnitInputs } from './inputs.ts'
import { calledOperations } from './called.ts'
import type { Log } from './log.ts'
import { isExec } from './model.ts'
import type { ConsumedOperation, Json, Method, RestExpose, RestOperation } from './model.ts'
import { makeRoutes, matchRoutes } from './route.ts'
import type { Match, Route } from './route.ts'
import type { Runner } from './runner.ts'
import { shapeAnswer } from './response.ts'
import type { ShapedAnswer } from './response.ts'

/** What a caller may send. */
export const MAX_REQUEST_BYTES = 10 * 1024 * 1024
const HEADERS_TIMEOUT_MS = 15_000
const REQUEST_TIMEOUT_MS = 60_000
/** Upstreams may answer with pages; none of them acts in this origin, where commands may be run. */
const SANDBOX = "sandbox; default-src 'none'"

export interface RestOptions {
  readonly runner: Runner
  readonly expose: RestExpose
  readonly address: string
  readonly log: Log
}

export function makeRestServer(options: RestOptions): Server {
  const adapter = new RestAdapter(options)
  const server = createServer({ headersTimeout: HEADERS_TIMEOUT_MS, requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => void adapter.answer(request, response))
  server.on('upgrade', (request, socket, head) => void adapter.upgrade(request, socket, head))
  return server
}

/** What is known of an operation before any call. */
interface Prepared {
  readonly operation: RestOperation
  readonly inputs: UnitInputs
  readonly exec: ConsumedOperation | null
}

class RestAdapter {
  readonly #runner: Runner
  readonly #expose: RestExpose
  readonly #address: string
  readonly #log: Log
  readonly #routes: readonly Route[]
  readonly #gate: Gate
  readonly #prepared = new Map<RestOperation, Prepared>()

  constructor({ runner, expose, address, log }: RestOptions) {
    this.#runner = runner
    this.#expose = expose
    this.#address = address
    this.#log = log
    this.#routes = makeRoutes(expose.resources)
    this.#gate = makeGate(expose.authentication, runner.variables.values, runner.upstream)
    for (const operation of expose.resources.flatMap((each) => each.operations)) {
      const exec = calledOperations(runner.capability, operation.action).find(isExec) ?? null
      this.#prepared.set(operation, { operation, inputs: unitInputs(runner.capability, operation, expose.namespace), exec })
    }
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const began = Date.now()
    const cancel = new AbortController()
    response.on('close', () => {
      if (!response.writableFinished) cancel.abort()
    })
    try {
      checkOrigin(request, this.#address)
      await this.#gate.check(request)
      await this.#route(request, response, cancel.signal)
    } catch (error) {
      this.#refuse(response, error)
    }
    const path = (request.url ?? '/').split('?')[0] ?? '/'
    this.#log({ event: 'rest', method: request.method ?? '', path, status: response.statusCode, ms: Date.now() - began })
  }

  async #route(request: IncomingMessage, response: ServerResponse, signal: AbortSignal): Promise<void> {
    const url = requestUrl(request)
    const matches = matchRoutes(this.#routes, url.pathname)
    const method = request.method === 'HEAD' ? 'GET' : (request.method as Method)
    for (const match of matches) {
      if (match.route.isForward) return this.#forward(request, response, match, url, signal)
      const found = this.#find(match.route, method)
      if (found === null) continue
      const { operation, inputs, exec } = found
      if (exec !== null) {
        checkNavigation(request)
        if (request.method === 'HEAD') continue
      }
      const body = await readJsonBody(request)
      const values = readRestInputs(inputs, { path: match.path, query: url.searchParams, headers: request.headers, body })
      const answer = await this.#runner.run(operation, values, { namespace: this.#expose.namespace, signal, maxBinaryBytes: this.#expose.maxBinaryBytes })
      send(response, shapeAnswer(answer, operation.responses), request.method === 'HEAD')
      return undefined
    }
    if (matches.length === 0) throw new Failure('not_found', `There is nothing at ${url.pathname}.`)
    response.setHeader('allow', [...new Set(matches.flatMap((match) => this.#allowed(match.route)))].join(', '))
    throw new Failure('method_not_allowed', `${request.method ?? ''} can't be done to ${url.pathname}.`)
  }

  /** The operation of a method; exec is served by POST beside the GET that the document names. */
  #find(route: Route, method: Method): Prepared | null {
    const own = route.operations.get(method)
    if (own !== undefined) return this.#prepared.get(own) ?? null
    const beside = method === 'POST' ? route.operations.get('GET') : undefined
    const prepared = beside === undefined ? undefined : this.#prepared.get(beside)
    return prepared !== undefined && prepared.exec !== null ? prepared : null
  }

  #allowed(route: Route): readonly string[] {
    return [...route.operations.keys()].flatMap((method) => {
      if (method !== 'GET') return [method]
      return this.#find(route, 'POST') === null ? ['GET', 'HEAD'] : ['GET', 'POST']
    })
  }

  async #forward(request: IncomingMessage, response: ServerResponse, match: Match, url: URL, signal: AbortSignal): Promise<void> {
    const { forward } = match.route.resource
    if (forward === null) throw new Failure('internal', 'A forward without a target.')
    const body = await readBody(request)
    const answer = await forwardRequest(this.#runner, forward, { method: request.method ?? 'GET', rest: match.rest, search: url.search, headers: request.headers, body, signal })
    response.writeHead(answer.status, { ...answer.headers, 'cache-control': 'no-store', 'content-security-policy': SANDBOX })
    response.end(request.method === 'HEAD' ? undefined : answer.body)
  }

  #refuse(response: ServerResponse, error: unknown): void {
    const failure = asFailure(error)
    if (failure.code === 'internal') this.#log({ event: 'error', message: describe(failure) })
    if (response.headersSent) return void response.destroy()
    const challenge = failure.code === 'unauthenticated' || failure.code === 'permission_denied' ? this.#gate.challenge(failure) : null
    if (challenge !== null) response.setHeader('www-authenticate', challenge)
    const body = this.#runner.variables.redactValue(failure.body)
    send(response, shapeAnswer({ status: failure.status, value: body, media: null, isError: true }, []), false)
    return undefined
  }

  async upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    socket.on('error', () => socket.destroy())
    try {
      checkOrigin(request, this.#address)
      checkNavigation(request)
      await this.#gate.check(request)
      const url = requestUrl(request)
      const [match] = matchRoutes(this.#routes, url.pathname)
      const found = match === undefined ? null : this.#find(match.route, 'GET')
      if (found === null || found.exec === null) throw new Failure('not_found', `There is no stream at ${url.pathname}.`)
      const consume = this.#runner.capability.consumes.find((each) => each.namespace === found.exec?.namespace)
      if (consume === undefined) throw new Failure('internal', 'An exec without an upstream.')
      const credential = await this.#runner.credentialsOf(consume.namespace).first()
      const target = new URL(this.#runner.baseUriOf(consume) + found.exec.path)
      target.search = url.search
      await proxySocket({ request, socket, head, target, credential, timeouts: this.#runner.upstream.timeouts })
      this.#log({ event: 'rest', method: 'UPGRADE', path: url.pathname, status: 101, ms: 0 })
    } catch (error) {
      const failure = asFailure(error)
      const body = JSON.stringify(this.#runner.variables.redactValue(failure.body))
      socket.end(
        `HTTP/1.1 ${failure.status} Refused\r\ncontent-type: application/json\r\ncache-control: no-store\r\nconnection: close\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
      )
    }
  }
}

function send(response: ServerResponse, { status, mediaType, bytes }: ShapedAnswer, isHead: boolean): void {
  response.statusCode = status
  response.setHeader('cache-control', 'no-store')
  response.setHeader('x-content-type-options', 'nosniff')
  response.setHeader('content-security-policy', SANDBOX)
  if (bytes !== null) {
    response.setHeader('content-type', mediaType)
    response.setHeader('content-length', bytes.length)
  }
  response.end(isHead || bytes === null ? undefined : bytes)
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MAX_REQUEST_BYTES) throw new Failure('too_large', 'The body is larger than 10 MiB.')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** JSON, or a form's fields. What begins as JSON is no form: curl's -d says that of everything. */
async function readJsonBody(request: IncomingMessage): Promise<Json | undefined> {
  const bytes = await readBody(request)
  if (bytes.length === 0) return undefined
  const text = bytes.toString('utf8')
  const isForm = (request.headers['content-type'] ?? '').startsWith('application/x-www-form-urlencoded') && !/^\s*[[{]/.test(text)
  if (isForm) {
    const form = new URLSearchParams(text)
    return Object.fromEntries([...new Set(form.keys())].map((key): [string, Json] => [key, form.getAll(key).length > 1 ? form.getAll(key) : (form.get(key) ?? '')]))
  }
  try {
    return parseJson(text)
  } catch (error) {
    throw invalid([{ field: 'body', description: error instanceof TooDeep ? `must be nested at most ${MAX_DEPTH} deep.` : 'must be JSON.' }])
  }
}

function describe(failure: Failure): string {
  const { cause } = failure
  return cause instanceof Error ? (cause.stack ?? cause.message) : failure.message
}
