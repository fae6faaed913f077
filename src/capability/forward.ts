/**
 * A forward: what follows its path goes to the consumed API with method, query and body as they are. Of the caller's
 * headers only those of the content and those that the document trusts go along; never hop-by-hop ones.
 */
import { isUtf8 } from 'node:buffer'
import type { IncomingHttpHeaders } from 'node:http'
import { Failure, invalid } from './failure.ts'
import type { Runner } from './runner.ts'
import { HOP_BY_HOP } from './upstream.ts'

const CONTENT_HEADERS = ['content-type', 'accept', 'accept-language', 'if-match', 'if-none-match', 'range']
/** What of an answer is the connection's, the cookie jar's or ours to say. */
const KEPT_BACK: ReadonlySet<string> = new Set([...HOP_BY_HOP, 'set-cookie', 'cache-control', 'content-encoding', 'www-authenticate', 'alt-svc', 'strict-transport-security'])
/** What is not true of other bytes any more. */
const OF_THE_BYTES: ReadonlySet<string> = new Set(['content-length', 'content-md5', 'digest', 'content-digest', 'repr-digest', 'etag'])

export interface ForwardRequest {
  readonly method: string
  readonly rest: string
  readonly search: string
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  readonly signal: AbortSignal
}

export interface ForwardAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
}

export async function forwardRequest(
  runner: Runner,
  forward: { readonly targetNamespace: string; readonly trustedHeaders: readonly string[] },
  request: ForwardRequest,
): Promise<ForwardAnswer> {
  const consume = runner.capability.consumes.find((each) => each.namespace === forward.targetNamespace)
  if (consume === undefined) throw new Failure('internal', `There is no consumed API "${forward.targetNamespace}".`)
  const base = new URL(runner.baseUriOf(consume))
  // Upstreams may decode before they look for steps.
  if (request.rest.split(/\/|\\|%2f|%5c/i).some((each) => /^(?:\.|%2e){1,2}$/i.test(each)) || request.rest.includes('\\')) {
    throw invalid([{ field: 'path', description: "can't step out of its directory." }])
  }
  const url = new URL(base)
  url.pathname = `${base.pathname.replace(/\/$/, '')}${request.rest}`
  url.search = request.search
  const trusted = new Set([...CONTENT_HEADERS, ...forward.trustedHeaders.map((each) => each.toLowerCase())])
  const headers: Record<string, string> = { 'user-agent': 'berth-capability' }
  for (const [name, value] of Object.entries(request.headers)) {
    if (trusted.has(name) && !HOP_BY_HOP.has(name) && value !== undefined) headers[name] = Array.isArray(value) ? value.join(', ') : value
  }
  const built = { url, method: request.method, headers, body: request.body.length === 0 ? null : request.body }
  const answer = await runner.send(consume.namespace, built, request.signal)
  const isOurs = consume.authentication !== null || headers['authorization'] === undefined
  if ((answer.status === 401 || answer.status === 403) && isOurs) {
    throw new Failure('upstream_auth', `${url.host} refused the capability's own credential (HTTP ${answer.status}).`)
  }
  if (answer.status >= 300 && answer.status < 400 && answer.status !== 304) {
    throw new Failure('upstream_error', `${url.host} redirects (HTTP ${answer.status}), and redirects are not followed.`)
  }
  // An upstream that repeats our credential must not give it to the caller.
  const body = struckBody(answer.body, runner)
  const kept = Object.entries(answer.headers).flatMap(([name, value]): [string, string][] => {
    if (KEPT_BACK.has(name) || value === undefined || (body !== answer.body && OF_THE_BYTES.has(name))) return []
    return [[name, runner.strikeText(Array.isArray(value) ? value.join(', ') : value)]]
  })
  const length = body === answer.body ? {} : { 'content-length': String(body.length) }
  return { status: answer.status, headers: { ...Object.fromEntries(kept), ...length }, body }
}

/** The very same bytes where nothing is struck out of them. */
function struckBody(body: Buffer, runner: Runner): Buffer {
  const encoding = isUtf8(body) ? 'utf8' : 'latin1'
  const text = body.toString(encoding)
  const struck = runner.strikeText(text)
  return struck === text ? body : Buffer.from(struck, encoding)
}
