/**
 * Who may call an adapter. On a loopback address only callers that name it (no rebinding of names), never a web page
 * of another origin; and where the document asks for a credential, only with it, compared in constant time.
 */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { createRemoteJWKSet, errors, jwtVerify } from 'jose'
import type { JWTPayload } from 'jose'
import { readChallenge } from './credentials.ts'
import { Failure } from './failure.ts'
import type { Authentication } from './model.ts'
import { renderText } from './template.ts'
import type { Upstream } from './upstream.ts'

/** How long a nonce of a digest challenge is good. */
const NONCE_LIFE_MS = 300_000
const LOOPBACK = new Set(['localhost', '127.0.0.1', '[::1]', '::1'])

export function isLoopback(address: string): boolean {
  return LOOPBACK.has(address) || /^127\.\d+\.\d+\.\d+$/.test(address)
}

/** The address of a request; of its host nothing is believed. */
export function requestUrl(request: IncomingMessage): URL {
  const given = request.url ?? '/'
  const text = given.startsWith('/') ? `http://localhost${given}` : given
  if (!URL.canParse(text)) throw new Failure('invalid_argument', 'The address of the request can\'t be read.')
  return new URL(text)
}

/** Refuses what a web page or a rebound name would send. */
export function checkOrigin(request: IncomingMessage, address: string): void {
  const hostname = (text: string | undefined): string | null => {
    try {
      return new URL(text ?? '').hostname
    } catch {
      return null
    }
  }
  if (isLoopback(address)) {
    const host = hostname(`http://${request.headers.host ?? ''}`)
    if (host === null || !isLoopback(host)) throw new Failure('permission_denied', 'This address answers only to names of this machine.')
  }
  const origin = request.headers.origin
  if (origin !== undefined) {
    const from = hostname(origin)
    const isSame = from !== null && (isLoopback(from) || from === hostname(`http://${request.headers.host ?? ''}`))
    if (!isSame) throw new Failure('permission_denied', 'Web pages of other origins may not call this address.')
  }
}

/** Refuses a command that nobody asked for by hand: links, images and prefetches of pages. */
export function checkNavigation(request: IncomingMessage): void {
  const site = request.headers['sec-fetch-site']
  const purpose = `${String(request.headers['sec-purpose'] ?? '')} ${String(request.headers['purpose'] ?? '')}`
  if (site === 'cross-site' || site === 'same-site' || purpose.includes('prefetch') || purpose.includes('prerender')) {
    throw new Failure('permission_denied', 'Commands are not run for links, pages or prefetches.')
  }
}

/** Checks callers' credentials; `challenge` is what a refused caller is told to send. */
export interface Gate {
  readonly check: (request: IncomingMessage) => Promise<void>
  readonly challenge: (error: Failure) => string | null
}

export function makeGate(authentication: Authentication | null, variables: Readonly<Record<string, string>>, upstream: Upstream): Gate {
  const render = (template: string): string => renderText(template, { variables, inputs: {} })
  const refuse = (): never => {
    throw new Failure('unauthenticated', 'The credential is missing or wrong.')
  }
  const authorization = (request: IncomingMessage, scheme: string): string => {
    const [word, ...rest] = (request.headers.authorization ?? '').split(' ')
    return word?.toLowerCase() === scheme ? rest.join(' ').trim() : ''
  }
  if (authentication === null) return { check: () => Promise.resolve(), challenge: () => null }
  switch (authentication.type) {
    case 'bearer':
      return {
        check: async (request) => void (same(authorization(request, 'bearer'), render(authentication.token)) || refuse()),
        challenge: () => 'Bearer',
      }
    case 'basic':
      return {
        check: async (request) => {
          const wanted = Buffer.from(`${render(authentication.username)}:${render(authentication.password)}`).toString('base64')
          if (!same(authorization(request, 'basic'), wanted)) refuse()
        },
        challenge: () => 'Basic realm="capability", charset="UTF-8"',
      }
    case 'apikey':
      return {
        check: async (request) => {
          const key = render(authentication.key)
          const given =
            authentication.placement === 'query'
              ? requestUrl(request).searchParams.get(key)
              : request.headers[key.toLowerCase()]
          if (typeof given !== 'string' || !same(given, render(authentication.value))) refuse()
        },
        challenge: () => null,
      }
    case 'digest':
      return digestGate(render(authentication.username), render(authentication.password))
    case 'oauth2':
      return oauthGate(authentication, variables, upstream)
  }
}

/** Equal, in a time that says nothing of how much of it is; nothing equals an empty secret. */
function same(given: string, wanted: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(given), digest(wanted)) && wanted !== ''
}

function digestGate(username: string, password: string): Gate {
  const key = randomBytes(32)
  const seal = (time: string): string => createHmac('sha256', key).update(time).digest('hex').slice(0, 32)
  const hash = (text: string): string => createHash('sha256').update(text).digest('hex')
  const isFresh = (nonce: string): boolean => {
    const [time = '', mark = ''] = nonce.split('-')
    return same(mark, seal(time)) && Date.now() - Number(time) < NONCE_LIFE_MS
  }
  return {
    check: async (request) => {
      const fields = readChallenge(request.headers.authorization ?? '')
      const a1 = hash(`${username}:capability:${password}`)
      const a2 = hash(`${request.method ?? ''}:${fields['uri'] ?? ''}`)
      const wanted = hash(`${a1}:${fields['nonce'] ?? ''}:${fields['nc'] ?? ''}:${fields['cnonce'] ?? ''}:auth:${a2}`)
      const isOurs = fields['uri'] === request.url && fields['qop'] === 'auth' && isFresh(fields['nonce'] ?? '') && same(fields['username'] ?? '', username)
      if (!isOurs || !same(fields['response'] ?? '', wanted)) throw new Failure('unauthenticated', 'The credential is missing or wrong.')
    },
    challenge: () => {
      const time = String(Date.now())
      return `Digest realm="capability", qop="auth", algorithm=SHA-256, nonce="${time}-${seal(time)}"`
    },
  }
}

function oauthGate(authentication: Extract<Authentication, { type: 'oauth2' }>, variables: Readonly<Record<string, string>>, upstream: Upstream): Gate {
  const { authorizationServerUri: issuer, resource, scopes, tokenValidation } = authentication
  const audience = authentication.audience ?? resource
  const challenge = (error: Failure): string => {
    const scope = scopes.length === 0 ? '' : `, scope="${scopes.join(' ')}"`
    return error.code === 'permission_denied' ? `Bearer error="insufficient_scope"${scope}` : `Bearer resource="${resource}"${scope}`
  }
  const checkScopes = (claims: JWTPayload): void => {
    const granted = typeof claims['scope'] === 'string' ? claims['scope'].split(' ') : Array.isArray(claims['scp']) ? claims['scp'] : []
    const lacking = scopes.filter((each) => !granted.includes(each))
    if (lacking.length > 0) throw new Failure('permission_denied', `The token lacks ${lacking.join(' ')}.`)
  }
  const token = (request: IncomingMessage): string => {
    const found = /^bearer\s+(\S+)$/i.exec(request.headers.authorization ?? '')?.[1]
    if (found === undefined) throw new Failure('unauthenticated', 'A bearer token is needed.')
    return found
  }
  let keys: ReturnType<typeof createRemoteJWKSet> | null = null
  const metadata = async (): Promise<Readonly<Record<string, unknown>>> => {
    for (const path of ['/.well-known/oauth-authorization-server', '/.well-known/openid-configuration']) {
      const answer = await upstream.send({ url: new URL(issuer + path), method: 'GET', headers: { accept: 'application/json' }, body: null, signal: null })
      if (answer.status === 200) return JSON.parse(answer.body.toString('utf8')) as Readonly<Record<string, unknown>>
    }
    throw new Failure('unavailable', 'The authorization server does not describe itself.')
  }
  if (tokenValidation === 'jwks') {
    const check = async (request: IncomingMessage): Promise<void> => {
      const given = token(request)
      if (keys === null) {
        const address = (await metadata())['jwks_uri']
        keys = createRemoteJWKSet(new URL(typeof address === 'string' ? address : `${issuer}/.well-known/jwks.json`))
      }
      const { payload } = await jwtVerify(given, keys, { issuer, audience, requiredClaims: ['exp'] }).catch((error: unknown) => {
        if (error instanceof errors.JOSEError) throw new Failure('unauthenticated', 'The token is not good here.', { cause: error })
        throw new Failure('unavailable', 'The keys of the authorization server can not be read.', { cause: error })
      })
      checkScopes(payload)
    }
    return { check, challenge }
  }
  const check = async (request: IncomingMessage): Promise<void> => {
    const given = token(request)
    const endpoint = (await metadata())['introspection_endpoint']
    if (typeof endpoint !== 'string') throw new Failure('unavailable', 'The authorization server has no introspection endpoint.')
    const login = ['CLIENT_ID', 'CLIENT_SECRET'].map((name) => encodeURIComponent(variables[name] ?? ''))
    const answer = await upstream.send({
      url: new URL(endpoint),
      method: 'POST',
      headers: {
        'content-type': 'application/x-www-form-urlencoded',
        accept: 'application/json',
        ...(login[0] === '' ? {} : { authorization: `Basic ${Buffer.from(login.join(':')).toString('base64')}` }),
      },
      body: Buffer.from(new URLSearchParams({ token: given, token_type_hint: 'access_token' }).toString()),
      signal: null,
    })
    const claims = answer.status === 200 ? (JSON.parse(answer.body.toString('utf8')) as JWTPayload) : {}
    const audiences = [claims.aud ?? []].flat()
    if (claims['active'] !== true || (audiences.length > 0 && !audiences.includes(audience))) throw new Failure('unauthenticated', 'The token is not good here.')
    checkScopes(claims)
  }
  return { check, challenge }
}
