/** MCP beside the API: on a listener of its own, with the server's keys. */
import type { Logger } from 'pino'
import type { DialectOptions } from '../dialects/dialect.ts'
import { asBerthError } from '../instance/errors.ts'
import type { ServerConfig } from './config.ts'

export interface McpServerOptions extends Omit<DialectOptions, 'stateDir'> {
  readonly config: ServerConfig['mcp']
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
  const mcp = createMcp({
    engine,
    catalogue,
    authenticate: async secret => (secret === null ? null : authenticate(secret, SURFACE)),
    version,
    stopping,
    mode: config.mode,
    log,
    now,
  })
  try {
    const listener = await listenMcp({ mcp, listen: config.listen, hostnames: config.hostnames, log })
    return { url: listener.url, warnings: [], close: () => listener.close() }
  } catch (error) {
    await mcp.close()
    const failure = asBerthError(error)
    if (config.isRequired || failure.code !== 'port_in_use') throw failure
    return none([failure.message])
  }
}

function none(warnings: readonly string[]): ServedMcp {
  return { url: null, warnings, close: async () => undefined }
}
