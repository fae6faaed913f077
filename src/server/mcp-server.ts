/** MCP beside the API: on a listener of its own, with the server's keys. */
import type { Logger } from 'pino'
import type { Caller } from '../engine/api.ts'
import type { DialectOptions } from '../dialects/dialect.ts'
import { asBerthError } from '../instance/errors.ts'
import { SCOPES } from '../instance/model.ts'
import type { ProjectId } from '../instance/model.ts'
import type { ServerConfig } from './config.ts'
import { isToken, makeTokenAuthentication, projectsByClaim } from './mcp-tokens.ts'

export interface McpServerOptions extends Omit<DialectOptions, 'stateDir'> {
  readonly config: ServerConfig['mcp']
  readonly jwtSecret: string | null
  /** Where tokens act that name no other. */
  readonly project: ProjectId
  readonly log: Logger
}

export interface ServedMcp {
  /** null: none is served. */
  readonly url: string | null
  /** Sentences that an operator should read. */
  readonly warnings: readonly string[]
  close(): Promise<void>
}

/** Serves MCP as the configuration says. Where it was not asked for, a port that is taken is only a warning. */
export async function serveMcp(options: McpServerOptions): Promise<ServedMcp> {
  const { config, engine, catalogue, authenticate, version, stopping, now, log } = options
  if (config.listen === null) return none([])
  // Loaded when the API serves already: it is a third of all code.
  const [{ listenMcp }, { createMcp, SURFACE }] = await Promise.all([import('../mcp/http.ts'), import('../mcp/mcp.ts')])
  let url = resourceOf(config)
  const resource = () => url
  const operator: Caller = { projectId: options.project, keyId: null, scopes: SCOPES, via: SURFACE }
  const projectOf = projectsByClaim(config.projectClaim, options.project, () => engine.projects.list(operator))
  const tokens = makeTokenAuthentication({ jwtSecret: options.jwtSecret, issuers: config.authorizationServers, projectOf, resource })
  const mcp = createMcp({
    engine,
    catalogue,
    authenticate: async secret => (secret === null ? null : isToken(secret) ? tokens(secret, SURFACE) : authenticate(secret, SURFACE)),
    oauth: config.authorizationServers.length === 0 ? null : { resource, authorizationServers: config.authorizationServers },
    version,
    stopping,
    mode: config.mode,
    log,
    now,
  })
  try {
    const listener = await listenMcp({ mcp, listen: config.listen, hostnames: config.hostnames, log })
    url = config.resource ?? listener.url
    return { url: listener.url, warnings: [], close: () => listener.close() }
  } catch (error) {
    await mcp.close()
    const failure = asBerthError(error)
    if (config.isRequired || failure.code !== 'port_in_use') throw failure
    return none([failure.message])
  }
}

/** The URL that tokens for MCP name, as far as it is known before it is served. */
export function resourceOf({ resource, listen }: ServerConfig['mcp']): string {
  return resource ?? (listen === null ? '' : `http://${listen.host.includes(':') ? `[${listen.host}]` : listen.host}:${listen.port}/mcp`)
}

function none(warnings: readonly string[]): ServedMcp {
  return { url: null, warnings, close: async () => undefined }
}
