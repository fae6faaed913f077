/**
 * MCP's authorization for clients that come with tokens: this server is a resource server, which tells whose tokens it
 * takes (RFC 9728) and in each refusal where that is told. Only with an authorization server; keys need none of it.
 */
import type { Scope } from '../instance/model.ts'
import { jsonRpcError } from './wire.ts'

export interface OAuth {
  /** The URL of MCP, as tokens name it in their audience. */
  readonly resource: () => string
  readonly authorizationServers: readonly string[]
}

const METADATA_PATH = '/.well-known/oauth-protected-resource'
export const TOKEN_SCOPES: readonly Scope[] = ['read', 'write', 'exec']

/** The answer for paths that OAuth's clients ask; null for all others. */
export function oauthAnswer(request: Request, oauth: OAuth | null): Response | null {
  const { pathname } = new URL(request.url)
  const isMetadata = pathname === METADATA_PATH || pathname.startsWith(`${METADATA_PATH}/`)
  if (oauth !== null && isMetadata) {
    if (request.method !== 'GET') return jsonRpcError(405, -32_600, 'The metadata is read with GET.')
    return Response.json({
      resource: oauth.resource(),
      resource_name: 'Berth',
      authorization_servers: oauth.authorizationServers,
      scopes_supported: TOKEN_SCOPES,
      bearer_methods_supported: ['header'],
    })
  }
  if (!pathname.startsWith('/.well-known/') && pathname !== '/register') return null
  return jsonRpcError(404, -32_600, 'There is no OAuth here: make a key with "berth keys create", and send it as Authorization: Bearer <key>.')
}

/** Who is nobody. */
export function unauthenticated(oauth: OAuth | null, hadSome: boolean, why: string | null): Response {
  const error = hadSome ? ', error="invalid_token"' : ''
  return challenged(401, -32_001, why ?? 'Authenticate with one of Berth’s API keys: Authorization: Bearer <key>.', `Bearer realm="berth"${error}${pointer(oauth, TOKEN_SCOPES)}`)
}

/** A token that lacks the scope of the tool; a client may ask for another token with all that are named. */
export function insufficientScope(oauth: OAuth, has: readonly Scope[], needed: Scope, id: string | number | null): Response {
  const scopes = TOKEN_SCOPES.filter(scope => scope === needed || has.includes(scope))
  return challenged(403, -32_001, `The token lacks the scope ${needed}.`, `Bearer realm="berth", error="insufficient_scope"${pointer(oauth, scopes)}`, id)
}

function challenged(status: number, code: number, message: string, challenge: string, id: string | number | null = null): Response {
  const response = jsonRpcError(status, code, message, id)
  response.headers.set('www-authenticate', challenge)
  return response
}

function pointer(oauth: OAuth | null, scopes: readonly Scope[]): string {
  if (oauth === null) return ''
  const { origin, pathname } = new URL(oauth.resource())
  return `, resource_metadata="${origin}${METADATA_PATH}${pathname === '/' ? '' : pathname}", scope="${scopes.join(' ')}"`
}
