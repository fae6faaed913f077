/**
 * Who a secret stands for: an API key of the engine, or, on the Hypeman surface, an HMAC token.
 *
 * Tokens follow Hypeman's rules: HS256, HS384 or HS512 with the raw secret; `exp`, `nbf` and `iat` are checked
 * where they are there and none is required; tokens made for a registry (`repos`, `scope` or `build_id`) and for
 * builders (`sub` of `builder-…`) are of the wrong type here. `permissions` narrows what the token may do; a
 * token without it may do everything but administer. All tokens act in one project.
 */
import { errors as joseErrors, jwtVerify } from 'jose'
import type { JWTPayload } from 'jose'
import type { Keys } from '../engine/api.ts'
import type { Authenticate, Identity } from '../dialects/dialect.ts'
import { BerthError } from '../instance/errors.ts'
import type { ProjectId, Scope } from '../instance/model.ts'

export interface AuthenticationOptions {
  readonly keys: Keys
  /** Where tokens act. */
  readonly project: ProjectId
  readonly jwtSecret: string | null
  /** Whether a token was made for another surface alone. */
  readonly isForeign?: (claims: JWTPayload) => boolean
}

/** The surface whose clients send tokens. */
const TOKEN_SURFACE = 'hypeman'
const TOKEN_ALGORITHMS = ['HS256', 'HS384', 'HS512']
const REGISTRY_CLAIMS = ['repos', 'scope', 'build_id']
/** Longest secret that is looked at. */
const SECRET_LIMIT_CHARACTERS = 8192
const PERMISSIONS_LIMIT = 256

export function makeAuthenticate(options: AuthenticationOptions): Authenticate {
  const jwtKey = options.jwtSecret === null ? null : new TextEncoder().encode(options.jwtSecret)
  return async (secret, via) => {
    if (secret.length > SECRET_LIMIT_CHARACTERS) return null
    if (!isToken(secret)) {
      const caller = await options.keys.authenticate(secret, via)
      return caller === null ? null : { ...caller, permissions: null }
    }
    if (jwtKey === null || via !== TOKEN_SURFACE) return null
    const claims = await verify(secret, jwtKey)
    if (options.isForeign?.(claims) === true) throw new BerthError('unauthenticated', 'invalid token: it is for MCP')
    return identityOf(claims, options.project, via)
  }
}

/** Three parts with dots between; an API key has letters and digits only. */
function isToken(secret: string): boolean {
  return secret.split('.').length === 3
}

async function verify(token: string, key: Uint8Array): Promise<JWTPayload> {
  try {
    return (await jwtVerify(token, key, { algorithms: TOKEN_ALGORITHMS })).payload
  } catch (error) {
    if (error instanceof joseErrors.JWTExpired) throw new BerthError('unauthenticated', 'invalid token: it has expired', { cause: error })
    if (error instanceof joseErrors.JOSEError) throw new BerthError('unauthenticated', 'invalid token', { cause: error })
    throw error
  }
}

function identityOf(claims: JWTPayload, projectId: ProjectId, via: string): Identity {
  const isForRegistry = REGISTRY_CLAIMS.some(claim => Object.hasOwn(claims, claim))
  const isForBuilder = typeof claims.sub === 'string' && claims.sub.startsWith('builder-')
  if (isForRegistry || isForBuilder) throw new BerthError('unauthenticated', 'invalid token type')
  const permissions = permissionsOf(claims)
  return { projectId, keyId: null, scopes: scopesOf(permissions), via, permissions }
}

function permissionsOf(claims: JWTPayload): readonly string[] | null {
  const claim = claims['permissions']
  if (claim === undefined || claim === null) return null
  const isList = Array.isArray(claim) && claim.length <= PERMISSIONS_LIMIT && claim.every(item => typeof item === 'string')
  if (!isList) throw new BerthError('unauthenticated', 'invalid token: permissions must be a list of strings')
  return claim as readonly string[]
}

/** The engine's scopes that a token's permissions need; the dialect then holds each route to its own. */
function scopesOf(permissions: readonly string[] | null): readonly Scope[] {
  if (permissions === null || permissions.includes('*')) return ['read', 'write', 'exec']
  const scopes = new Set<Scope>()
  for (const permission of permissions) {
    // Whatever changes something is answered with what it changed.
    scopes.add('read')
    if (/:(write|delete)$/.test(permission)) scopes.add('write')
    if (permission === 'instance:write') scopes.add('exec')
  }
  return [...scopes]
}
