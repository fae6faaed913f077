/**
 * Which server a command speaks to, and with which key.
 *
 *   server  --server, BERTH_SERVER, the config file, the server of the local data directory, 127.0.0.1:8080
 *   key     --key, BERTH_KEY, BERTH_ADMIN_KEY, the config file, admin.key of the local data directory
 *
 * A key from a file is sent only to the server it was kept for: the config file's to the config file's
 * server, the local administrator's to this machine.
 */
import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { CliError, STATUS } from './failure.ts'

export const DEFAULT_SERVER = 'http://127.0.0.1:8080'
const KEY_FILE = 'admin.key'
const SERVER_FILE = 'server.json'
const MCP_PORT = 9090
const MCP_PATH = '/mcp'

export interface ConnectionFlags {
  readonly server?: string
  readonly key?: string
}

export interface Connection {
  readonly server: URL
  readonly key: string | null
}

interface ConfigFile {
  readonly server?: string
  readonly key?: string
}

export function findConnection(flags: ConnectionFlags, env: NodeJS.ProcessEnv): Connection {
  const file = readConfigFile(configPath(env))
  const dataDirs = localDataDirs(env)
  const asked = flags.server ?? nonEmpty(env['BERTH_SERVER'])
  const server = parseServer(asked ?? file.server ?? localServer(dataDirs) ?? DEFAULT_SERVER)
  const isOfFile = file.server === undefined ? asked === undefined : parseServer(file.server).origin === server.origin
  const key =
    flags.key ??
    nonEmpty(env['BERTH_KEY']) ??
    nonEmpty(env['BERTH_ADMIN_KEY']) ??
    (isOfFile ? file.key : undefined) ??
    (isThisMachine(server) ? localKey(dataDirs) : null)
  return { server, key }
}

export interface McpConnection {
  readonly url: URL
  readonly key: string | null
}

/**
 * Where MCP is served: --url, BERTH_MCP_URL, what the server of this machine says, or the usual port of the server.
 * The key is the one for that machine.
 */
export function findMcp(
  flags: { readonly url?: string | undefined; readonly server?: string | undefined; readonly key?: string | undefined },
  env: NodeJS.ProcessEnv,
): McpConnection {
  const key = flags.key === undefined ? {} : { key: flags.key }
  const asked = flags.url ?? nonEmpty(env['BERTH_MCP_URL'])
  if (asked !== undefined) {
    const url = parseServer(asked)
    if (url.pathname === '/') url.pathname = MCP_PATH
    return { url, key: findConnection({ server: url.origin, ...key }, env).key }
  }
  const connection = findConnection({ ...(flags.server === undefined ? {} : { server: flags.server }), ...key }, env)
  const local = localServers(localDataDirs(env)).find(({ url }) => parseServer(url).origin === connection.server.origin)
  if (local?.mcpUrl === null) {
    throw new CliError(`The server at ${connection.server.origin} serves no MCP: start it with --mcp-listen 127.0.0.1:${MCP_PORT}, or name another with --url.`)
  }
  const url = new URL(local?.mcpUrl ?? `${connection.server.protocol}//${connection.server.hostname}:${MCP_PORT}${MCP_PATH}`)
  return { url, key: connection.key }
}

export function configPath(env: NodeJS.ProcessEnv): string {
  return join(nonEmpty(env['XDG_CONFIG_HOME']) ?? join(homedir(), '.config'), 'berth', 'config.json')
}

function parseServer(text: string): URL {
  const url = URL.parse(/^[a-z]+:\/\//i.test(text) ? text : `http://${text}`)
  if (url === null || !['http:', 'https:'].includes(url.protocol)) {
    throw new CliError(`"${text}" is not the address of a server: write it like ${DEFAULT_SERVER}.`, { status: STATUS.usage })
  }
  return url
}

function readConfigFile(path: string): ConfigFile {
  const text = readIfThere(path)
  if (text === null) return {}
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new CliError(`${path} is not JSON: mend it or remove it.`, { status: STATUS.usage, cause: error })
  }
  const { server, key } = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>
  return { ...(typeof server === 'string' ? { server } : {}), ...(typeof key === 'string' ? { key } : {}) }
}

/** Where a server of this machine keeps its data: as it was told, or the defaults for this user and for root. */
function localDataDirs(env: NodeJS.ProcessEnv): readonly string[] {
  const told = nonEmpty(env['BERTH_DATA_DIR'])
  if (told !== undefined) return [told]
  const own = join(nonEmpty(env['XDG_DATA_HOME']) ?? join(homedir(), '.local', 'share'), 'berth')
  return process.getuid?.() === 0 ? ['/var/lib/berth'] : [own, '/var/lib/berth']
}

function localServer(dataDirs: readonly string[]): string | null {
  return localServers(dataDirs)[0]?.url ?? null
}

/** Who serves on this machine, as they say; `mcpUrl` is null where no MCP is served, undefined where nothing is said. */
function localServers(dataDirs: readonly string[]): readonly { readonly url: string; readonly mcpUrl: string | null | undefined }[] {
  return dataDirs.flatMap(dir => {
    const text = readIfThere(join(dir, SERVER_FILE))
    if (text === null) return []
    try {
      const { url, mcpUrl } = JSON.parse(text) as { url?: unknown; mcpUrl?: unknown }
      return typeof url === 'string' ? [{ url, mcpUrl: typeof mcpUrl === 'string' || mcpUrl === null ? mcpUrl : undefined }] : []
    } catch {
      // Half written by a server that is just starting: the default is as good.
      return []
    }
  })
}

function localKey(dataDirs: readonly string[]): string | null {
  for (const dir of dataDirs) {
    const key = readIfThere(join(dir, KEY_FILE))?.trim()
    if (key !== undefined && key !== '') return key
  }
  return null
}

function isThisMachine({ hostname }: URL): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname)
}

/** The text of a file; null if it isn't there or not for us to read. */
function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === '' ? undefined : text
}
