/**
 * The credential that a request upstream carries, by the kind of authentication that the document names. It is made
 * of the document's variables alone: what a caller sends is never part of it.
 */
import { createHash, randomBytes } from 'node:crypto'
import { Failure } from './failure.ts'
import type { Authentication, Json, JsonObject } from './model.ts'
import { isObject } from './shape.ts'
import { namesIn, renderText } from './template.ts'
import { NOT_IN_HEADERS } from './request.ts'
import type { Upstream } from './upstream.ts'

/** A token is renewed this long before it ends. */
const TOKEN_MARGIN_MS = 30_000
const TOKEN_LIFE_MS = 300_000
/** Characters of a challenge or its answer that are read. */
const MAX_CHALLENGE = 4096

export interface Credential {
  readonly headers: Readonly<Record<string, string>>
  readonly query: readonly (readonly [string, string])[]
  /** For WebSockets, which carry a bearer token as a subprotocol too. */
  readonly token: string | null
}

const NONE: Credential = { headers: {}, query: [], token: null }

export interface RequestLine {
  readonly method: string
  readonly url: URL
}

/** Gives requests their credentials; keeps an OAuth2 token while it lasts. */
export class Credentials {
  readonly #authentication: Authentication | null
  readonly #variables: Readonly<Record<string, string>>
  readonly #upstream: Upstream
  readonly #keepSecret: (secret: string) => void
  #token: { readonly value: string; readonly until: number } | null = null

  constructor(authentication: Authentication | null, variables: Readonly<Record<string, string>>, upstream: Upstream, keepSecret: (secret: string) => void = () => undefined) {
    this.#keepSecret = keepSecret
    this.#authentication = authentication
    this.#variables = variables
    this.#upstream = upstream
  }

  /** What the first request carries. Digest answers a challenge, so that its first request carries nothing. */
  async first(): Promise<Credential> {
    const authentication = this.#authentication
    if (authentication === null) return NONE
    switch (authentication.type) {
      case 'digest':
        return NONE
      case 'bearer':
        return bearer(this.#render(authentication.token))
      case 'basic': {
        const login = `${this.#render(authentication.username)}:${this.#render(authentication.password)}`
        return { ...NONE, headers: { authorization: `Basic ${Buffer.from(login).toString('base64')}` } }
      }
      case 'apikey': {
        const value = this.#render(authentication.value)
        const key = this.#render(authentication.key)
        return authentication.placement === 'query' ? { ...NONE, query: [[key, value]] } : { ...NONE, headers: { [key.toLowerCase()]: value } }
      }
      case 'oauth2':
        return bearer(await this.#clientToken(authentication))
    }
  }

  /** What a second request carries after a 401, or null if it would carry nothing new. */
  async retry(challenge: string | undefined, line: RequestLine): Promise<Credential | null> {
    const authentication = this.#authentication
    if (authentication?.type === 'oauth2' && this.#token !== null) {
      this.#token = null
      return this.first()
    }
    if (authentication?.type !== 'digest' || challenge === undefined) return null
    const header = answerDigest(challenge, this.#render(authentication.username), this.#render(authentication.password), line)
    return header === null ? null : { ...NONE, headers: { authorization: header } }
  }

  #render(template: string): string {
    const missing = namesIn(template).find((name) => !Object.hasOwn(this.#variables, name))
    if (missing !== undefined) throw new Failure('internal', `The document's authentication names ${missing}, which it doesn't bind.`)
    const text = renderText(template, { variables: this.#variables, inputs: {} })
    // Most often the line break at the end of the file that it was read from.
    if (NOT_IN_HEADERS.test(text)) throw new Failure('upstream_auth', `The credential of the document has a line break or a control character in it, which no request can carry; see ${namesIn(template).join(', ') || 'its authentication'}.`)
    return text
  }

  /** The grammar has no place for a client's id and secret: they are the bound variables CLIENT_ID and CLIENT_SECRET. */
  async #clientToken(authentication: Extract<Authentication, { type: 'oauth2' }>): Promise<string> {
    if (this.#token !== null && this.#token.until > Date.now()) return this.#token.value
    const id = this.#variable('CLIENT_ID')
    const secret = this.#variable('CLIENT_SECRET')
    const endpoint = new URL(authentication.tokenEndpoint ?? (await this.#discover(authentication.authorizationServerUri)))
    const form = new URLSearchParams({ grant_type: 'client_credentials', resource: authentication.resource })
    if (authentication.scopes.length > 0) form.set('scope', authentication.scopes.join(' '))
    if (authentication.audience !== null) form.set('audience', authentication.audience)
    const login = Buffer.from(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`).toString('base64')
    const answer = await this.#upstream.send({
      url: endpoint,
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json', authorization: `Basic ${login}` },
      body: Buffer.from(form.toString()),
      signal: null,
    })
    const body = parseObject(answer.body)
    const token = body['access_token']
    if (answer.status !== 200 || typeof token !== 'string') {
      throw new Failure('upstream_auth', `${endpoint.host} gave no token for the client credentials (HTTP ${answer.status}).`)
    }
    const lifeMs = typeof body['expires_in'] === 'number' ? body['expires_in'] * 1000 : TOKEN_LIFE_MS
    this.#keepSecret(token)
    this.#token = { value: token, until: Date.now() + Math.max(0, lifeMs - TOKEN_MARGIN_MS) }
    return token
  }

  #variable(suffix: string): string {
    const name = Object.keys(this.#variables).find((each) => each === suffix || each.endsWith(`_${suffix}`))
    const value = name === undefined ? undefined : this.#variables[name]
    if (value === undefined) throw new Failure('upstream_auth', `OAuth2 needs the variable ${suffix} (or one that ends with _${suffix}) among the document's binds.`)
    return value
  }

  async #discover(server: string): Promise<string> {
    const issuer = new URL(server)
    for (const kind of ['oauth-authorization-server', 'openid-configuration']) {
      const path = issuer.pathname === '/' ? '' : issuer.pathname
      const url = new URL(kind === 'openid-configuration' ? `${path}/.well-known/${kind}` : `/.well-known/${kind}${path}`, issuer)
      const answer = await this.#upstream.send({ url, method: 'GET', headers: { accept: 'application/json' }, body: null, signal: null })
      const endpoint = answer.status === 200 ? parseObject(answer.body)['token_endpoint'] : undefined
      if (typeof endpoint === 'string') return endpoint
    }
    throw new Failure('upstream_auth', `${issuer.host} doesn't say where its token endpoint is; name it as "tokenEndpoint".`)
  }
}

function bearer(token: string): Credential {
  return { headers: { authorization: `Bearer ${token}` }, query: [], token }
}

function parseObject(bytes: Buffer): JsonObject {
  try {
    const value = JSON.parse(bytes.toString('utf8')) as Json
    return isObject(value) ? (value as JsonObject) : {}
  } catch {
    // What is no JSON has no fields.
    return {}
  }
}

/** The answer to a digest challenge (RFC 7616), or null if nothing in it is understood. */
export function answerDigest(challenge: string, username: string, password: string, { method, url }: RequestLine): string | null {
  const fields = readChallenge(challenge)
  const algorithm = fields['algorithm'] ?? 'MD5'
  const name = { MD5: 'md5', 'MD5-SESS': 'md5', 'SHA-256': 'sha256', 'SHA-256-SESS': 'sha256' }[algorithm.toUpperCase()]
  const { realm, nonce } = fields
  if (name === undefined || realm === undefined || nonce === undefined) return null
  const hash = (text: string): string => createHash(name).update(text).digest('hex')
  const cnonce = randomBytes(16).toString('hex')
  const nc = '00000001'
  const uri = `${url.pathname}${url.search}`
  const login = hash(`${username}:${realm}:${password}`)
  const a1 = algorithm.toUpperCase().endsWith('-SESS') ? hash(`${login}:${nonce}:${cnonce}`) : login
  const a2 = hash(`${method}:${uri}`)
  const hasQop = fields['qop']?.split(',').some((each) => each.trim() === 'auth') === true
  if (fields['qop'] !== undefined && !hasQop) return null
  const response = hash(hasQop ? `${a1}:${nonce}:${nc}:${cnonce}:auth:${a2}` : `${a1}:${nonce}:${a2}`)
  const quoted = (text: string): string => `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`
  const parts = [`username=${quoted(username)}`, `realm=${quoted(realm)}`, `nonce=${quoted(nonce)}`, `uri=${quoted(uri)}`, `response="${response}"`]
  if (fields['algorithm'] !== undefined) parts.push(`algorithm=${algorithm}`)
  if (fields['opaque'] !== undefined) parts.push(`opaque=${quoted(fields['opaque'])}`)
  if (hasQop) parts.push('qop=auth', `nc=${nc}`, `cnonce="${cnonce}"`)
  return `Digest ${parts.join(', ')}`
}

/** The fields of a `Digest` header, of a challenge or an answer. */
export function readChallenge(header: string): Readonly<Record<string, string>> {
  const text = /(?:^|,\s*)Digest\s+(.*)$/i.exec(header.slice(0, MAX_CHALLENGE))?.[1] ?? ''
  const pairs = [...text.matchAll(/(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))/g)]
  return Object.fromEntries(pairs.map(([, key = '', quoted, plain]) => [key.toLowerCase(), quoted?.replace(/\\(.)/g, '$1') ?? plain ?? '']))
}
