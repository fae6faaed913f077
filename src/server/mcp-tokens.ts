/**
 * Tokens with which MCP clients may come beside keys: JWTs that were made for this very server.
 *
 * A token must name the MCP resource as its audience (RFC 8707), so that one made for another service, or for Berth's own
 * Hypeman surface, is worth nothing here. It is signed with the operator's own secret (`BERTH_JWT_SECRET`), or by a
 * configured authorization server, whose keys are found through its metadata (RFC 8414, or OpenID Connect's). What it may
 * do is its `scope`: of read, write and exec, and never admin. It acts in the project that a claim names, where the
 * operator has said which claim; else all tokens act in one. They expire.
 */
import { createRemoteJWKSet, decodeJwt, decodeProtectedHeader, errors as joseErrors, jwtVerify } from 'jose'
import type { JWTPayload, JWTVerifyGetKey } from 'jose'
import type { Caller } from '../engine/api.ts'
import { asBerthError, BerthError } from '../instance/errors.ts'
import type { Project, ProjectId, Scope } from '../instance/model.ts'

/** What tokens may be given, least first. */
export const TOKEN_SCOPES = ['read', 'write', 'exec'] as const
const SECRET_ALGORITHMS = ['HS256', 'HS384', 'HS512']
/** Of key pairs: a public key must never be taken for a secret. */
const ISSUER_ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA']
const METADATA_LIMIT_MS = 5000
const METADATA_LIMIT_BYTES = 256 * 1024
const CLOCK_TOLERANCE_S = 30

export interface TokenOptions {
  readonly jwtSecret: string | null
  readonly issuers: readonly string[]
  /** Where a token acts. Throws `unauthenticated` for one that names no project that is here. */
  readonly projectOf: (claims: JWTPayload) => Promise<ProjectId>
  /** The resource that tokens must be for. */
  readonly resource: () => string
}

/** Who a token stands for. Throws `unauthenticated` with the reason. */
export type AuthenticateToken = (token: string, via: string) => Promise<Caller & { readonly subject: string }>

export function makeTokenAuthentication(options: TokenOptions): AuthenticateToken {
  const secret = options.jwtSecret === null ? null : new TextEncoder().encode(options.jwtSecret)
  const keySets = new Map<string, Promise<JWTVerifyGetKey>>()
  const keysOf = (issuer: string): Promise<JWTVerifyGetKey> => {
    const known = keySets.get(issuer)
    if (known !== undefined) return known
    const found = findKeys(issuer)
    keySets.set(issuer, found)
    // Another time it may answer.
    found.catch(() => keySets.delete(issuer))
    return found
  }
  const verified = async (token: string): Promise<JWTPayload> => {
    const audience = spellingsOf(options.resource())
    const common = { audience, clockTolerance: CLOCK_TOLERANCE_S, requiredClaims: ['exp', 'aud'] }
    if (SECRET_ALGORITHMS.includes(decodeProtectedHeader(token).alg ?? '')) {
      if (secret === null) throw new BerthError('unauthenticated', 'This server takes no tokens that are signed with a secret: use a key.')
      return (await jwtVerify(token, secret, { ...common, algorithms: SECRET_ALGORITHMS })).payload
    }
    const { iss } = decodeJwt(token)
    if (iss === undefined || !options.issuers.includes(iss)) throw new BerthError('unauthenticated', 'The token is of an issuer that this server does not know.')
    return (await jwtVerify(token, await keysOf(iss), { ...common, issuer: iss, algorithms: ISSUER_ALGORITHMS })).payload
  }
  return async (token, via) => {
    try {
      const claims = await verified(token)
      const subject = `${claims.iss ?? 'the operator'} ${claims.sub ?? 'nobody by name'}`
      return { projectId: await options.projectOf(claims), keyId: null, scopes: scopesOf(claims), via, subject, ...clientOf(claims) }
    } catch (error) {
      throw refusal(error, options.resource())
    }
  }
}

/** Three parts with dots between; a key has letters and digits only. */
export function isToken(secret: string): boolean {
  return secret.split('.').length === 3
}

/** Whether its audience is this resource and nothing else: such a token is for no other surface. */
export function isOnlyFor(claims: JWTPayload, resource: string): boolean {
  const { aud } = claims
  const audiences = aud === undefined ? [] : Array.isArray(aud) ? aud : [aud]
  return audiences.length > 0 && audiences.every(each => spellingsOf(resource).includes(each))
}

/** Clients write a resource with and without a slash at its end. */
function spellingsOf(resource: string): string[] {
  if (resource === '') return []
  const bare = resource.replace(/\/+$/, '')
  return [bare, `${bare}/`]
}

function scopesOf({ scope, scp }: JWTPayload): readonly Scope[] {
  const words = typeof scope === 'string' ? scope.split(' ') : Array.isArray(scp) ? (scp as unknown[]) : []
  return TOKEN_SCOPES.filter(known => words.includes(known))
}

/** Whom the token was given to (RFC 9068, or OpenID Connect's word for it). */
function clientOf({ client_id: id, azp }: JWTPayload): { readonly client?: string } {
  const client = typeof id === 'string' ? id : azp
  return typeof client === 'string' ? { client } : {}
}

/** The project that tokens act in: by the name or the id that stands in `claim`; without a claim `project`. */
export function projectsByClaim(claim: string | null, project: ProjectId, projects: () => Promise<readonly Project[]>): TokenOptions['projectOf'] {
  return async claims => {
    if (claim === null) return project
    const word = claims[claim]
    if (typeof word !== 'string' || word === '') throw new BerthError('unauthenticated', `The token names no project: it must have the claim ${claim}.`)
    const found = (await projects()).find(({ id, name }) => id === word || name === word)
    if (found === undefined) throw new BerthError('unauthenticated', `The token is for a project that is not here: its claim ${claim} must be a project's name or id.`)
    return found.id
  }
}

function refusal(error: unknown, resource: string): BerthError {
  if (error instanceof joseErrors.JWTExpired) return new BerthError('unauthenticated', 'The token has expired.', { cause: error })
  if (error instanceof joseErrors.JWTClaimValidationFailed) {
    const why = error.claim === 'aud' ? `it must be for ${resource}` : `its ${error.claim} is missing or wrong`
    return new BerthError('unauthenticated', `The token is not valid here: ${why}.`, { cause: error })
  }
  if (error instanceof joseErrors.JOSEError || error instanceof TypeError) return new BerthError('unauthenticated', 'The token is not valid.', { cause: error })
  return asBerthError(error)
}

async function findKeys(issuer: string): Promise<JWTVerifyGetKey> {
  for (const url of metadataUrls(issuer)) {
    const metadata = await fetchJson(url)
    if (metadata === null || metadata['issuer'] !== issuer || typeof metadata['jwks_uri'] !== 'string') continue
    return createRemoteJWKSet(new URL(metadata['jwks_uri']), { timeoutDuration: METADATA_LIMIT_MS })
  }
  throw new BerthError('unauthenticated', 'The authorization server of the token does not tell its keys: try again in a moment.')
}

/** RFC 8414 puts the well-known part before the path of an issuer, OpenID Connect behind it. */
function metadataUrls(issuer: string): readonly URL[] {
  const { origin, pathname } = new URL(issuer)
  const path = pathname.replace(/\/+$/, '')
  return [`/.well-known/oauth-authorization-server${path}`, `/.well-known/openid-configuration${path}`, `${path}/.well-known/openid-configuration`].map(each => new URL(each, origin))
}

async function fetchJson(url: URL): Promise<Readonly<Record<string, unknown>> | null> {
  try {
    const answer = await fetch(url, { headers: { accept: 'application/json' }, redirect: 'error', signal: AbortSignal.timeout(METADATA_LIMIT_MS) })
    if (!answer.ok || Number(answer.headers.get('content-length') ?? 0) > METADATA_LIMIT_BYTES) return null
    const value: unknown = await answer.json()
    return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : null
  } catch {
    // Not there, or not JSON: the next place may have it.
    return null
  }
}
