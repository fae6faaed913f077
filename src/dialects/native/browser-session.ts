/**
 * The cookie of a browser's session, and the rule of when it counts.
 *
 * It counts on this dialect's paths alone (its Path), and only for what the dashboard itself sends:
 *
 *   every request       Sec-Fetch-Site, where the browser sends it, is same-origin; Origin, where it is there, is ours
 *   what changes        also the header X-Berth-Session, which no form and no foreign page can send unasked
 *   a WebSocket         can't send headers of its own: Origin must be there, and ours
 *
 * With an Authorization header the cookie is not looked at.
 */
import { createHash } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import { BerthError } from '../../instance/errors.ts'
import type { BrowserSessions } from '../dialect.ts'

/** What the dashboard sends with everything; any value. */
export const SESSION_HEADER = 'x-berth-session'
const SAFE_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS'])
const COOKIES_LIMIT_CHARACTERS = 8192

type Head = Pick<FastifyRequest, 'headers' | 'method'>

/** Cookies don't tell ports apart: each installation has a name of its own, so that two on one machine don't sign each other out. */
export function cookieName(stateDir: string): string {
  return `berth-session-${createHash('sha256').update(stateDir).digest('hex').slice(0, 8)}`
}

/** The token that the browser sent; null if there is none. */
export function sessionToken(request: Head, name: string): string | null {
  const header = request.headers.cookie
  if (header === undefined || header.length > COOKIES_LIMIT_CHARACTERS) return null
  for (const pair of header.split(';')) {
    const [key, value] = pair.trim().split('=')
    if (key === name && value !== undefined && value !== '') return value
  }
  return null
}

/** The key behind the session of a request; null without one. Throws `forbidden` if the request is not the dashboard's own. */
export function sessionSecret(request: Head, sessions: BrowserSessions | undefined, name: string): string | null {
  const token = sessions === undefined ? null : sessionToken(request, name)
  if (token === null) return null
  checkOwnOrigin(request)
  return sessions?.secretOf(token) ?? null
}

/** Throws `forbidden` unless the request comes from a page of this very origin. */
export function checkOwnOrigin({ headers, method }: Head): void {
  const site = headers['sec-fetch-site']
  if (site !== undefined && site !== 'same-origin') throw foreign('another site sent it')
  const origin = headers.origin
  if (origin !== undefined && hostOf(origin) !== headers.host?.toLowerCase()) throw foreign('another site sent it')
  if (headers.upgrade !== undefined) {
    if (origin === undefined) throw foreign('its Origin is missing')
    return
  }
  if (!SAFE_METHODS.has(method) && headers[SESSION_HEADER] === undefined) throw foreign('the header X-Berth-Session is missing')
}

function foreign(why: string): BerthError {
  return new BerthError('forbidden', `A session of the dashboard can't be used for this request: ${why}. Send a key instead.`)
}

function hostOf(origin: string): string | null {
  try {
    return new URL(origin).host
  } catch {
    return null
  }
}

/** The Set-Cookie that keeps the token; over HTTPS it never leaves HTTPS. */
export function keepCookie(request: Head, name: string, token: string, maxAgeSeconds: number): string {
  return `${name}=${token}; ${attributes(request)}; Max-Age=${maxAgeSeconds}`
}

export function dropCookie(request: Head, name: string): string {
  return `${name}=; ${attributes(request)}; Max-Age=0`
}

function attributes({ headers }: Head): string {
  const isHttps = headers.origin?.startsWith('https://') === true || headers['x-forwarded-proto'] === 'https'
  return `Path=/berth/v1; HttpOnly; SameSite=Strict${isHttps ? '; Secure' : ''}`
}
