/**
 * Starts what a capability exposes and stops it. Everything that can be wrong is found before anything listens: the
 * document, then its variables, then the ports; what fails takes down what was begun.
 */
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { BerthError } from '../instance/errors.ts'
import { isLoopback } from './guard.ts'
import { makeLog } from './log.ts'
import type { Log } from './log.ts'
import { makeMcpServer, serveMcpStdio } from './mcp.ts'
import type { Capability, McpExpose, RestExpose, SkillExpose } from './model.ts'
import { makeRestServer } from './rest.ts'
import { Runner } from './runner.ts'
import { makeSkillServer } from './skills.ts'
import type { Timeouts } from './upstream.ts'
import { findVariables } from './variables.ts'

/** How long calls may go on after the end was asked for. */
const DRAIN_MS = 5_000
const DEFAULT_ADDRESS = '127.0.0.1'

export interface ServeOptions {
  readonly directory: string
  readonly env: Readonly<Record<string, string | undefined>>
  readonly binds: Readonly<Record<string, string>>
  readonly baseUri: string | null
  /** Stand in for the ports of the first adapter of their kind. */
  readonly restPort: number | null
  readonly mcpPort: number | null
  readonly writeLog: (line: string) => void
  readonly timeouts?: Timeouts
}

export interface Listening {
  readonly type: 'rest' | 'mcp' | 'skill'
  readonly namespace: string
  /** Null over stdio. */
  readonly url: string | null
}

export interface RunningCapability {
  readonly listening: readonly Listening[]
  readonly warnings: readonly string[]
  /** Ends with the far side of stdio; never, where there is none. */
  readonly ended: Promise<void>
  readonly close: () => Promise<void>
}

export async function serveCapability(capability: Capability, options: ServeOptions): Promise<RunningCapability> {
  const variables = await findVariables(capability.binds, options.binds, options.env, options.directory)
  const baseUri = options.baseUri === null ? null : readBaseUri(options.baseUri)
  const served = capability.exposes.filter((each): each is RestExpose | McpExpose | SkillExpose => each.type !== 'control')
  if (served.length === 0) throw new BerthError('invalid_request', 'The document exposes nothing over REST, MCP or as skills, so that there is nothing to run.')
  const timeouts = options.timeouts === undefined ? {} : { timeouts: options.timeouts }
  const log = makeLog(options.writeLog, variables.redactValue)
  const runner = new Runner({ capability, variables, baseUri, log, ...timeouts })
  const servers: Server[] = []
  const closers: (() => Promise<void>)[] = []
  const listening: Listening[] = []
  const warnings: string[] = []
  let ended: Promise<void> = new Promise(() => undefined)
  const close = async (): Promise<void> => {
    await Promise.all(closers.map((each) => each()))
    await Promise.all(servers.map(closeServer))
    await runner.close()
  }
  try {
    for (const expose of served) {
      const isFirst = served.find((each) => each.type === expose.type) === expose
      const given = expose.type === 'rest' ? options.restPort : expose.type === 'mcp' ? options.mcpPort : null
      const port = isFirst && given !== null ? given : expose.port
      const address = expose.address ?? DEFAULT_ADDRESS
      if (expose.type === 'mcp' && expose.transport === 'stdio') {
        const stdio = await serveMcpStdio({ runner, expose, log })
        ended = stdio.ended
        closers.push(stdio.close)
        listening.push({ type: 'mcp', namespace: expose.namespace, url: null })
        continue
      }
      const server = await serverOf(expose, runner, address, log, closers)
      servers.push(server)
      const real = await listen(server, address, port)
      const host = address.includes(':') ? `[${address}]` : address
      listening.push({ type: expose.type, namespace: expose.namespace, url: `http://${host}:${real}${expose.type === 'mcp' ? '/mcp' : ''}` })
      if (!isLoopback(address) && expose.authentication === null) {
        warnings.push(`${expose.namespace} listens on ${address} without authentication: whoever reaches it uses the capability's own credential.`)
      }
    }
  } catch (error) {
    await close()
    throw error
  }
  return { listening, warnings, ended, close }
}

async function serverOf(expose: RestExpose | McpExpose | SkillExpose, runner: Runner, address: string, log: Log, closers: (() => Promise<void>)[]): Promise<Server> {
  if (expose.type === 'rest') return makeRestServer({ runner, expose, address, log })
  if (expose.type === 'skill') return makeSkillServer({ runner, expose, address, log })
  const { server, close } = await makeMcpServer({ runner, expose, address, log })
  closers.push(close)
  return server
}

function readBaseUri(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url === null || !['http:', 'https:'].includes(url.protocol) || url.search !== '' || url.hash !== '') {
    throw new BerthError('invalid_request', `--base-uri "${text}" is not an http or https address without a query.`)
  }
  return text.replace(/\/+$/, '')
}

function listen(server: Server, address: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const why = error.code === 'EADDRINUSE' ? 'something else listens there' : (error.code ?? error.message)
      reject(new BerthError('port_in_use', `Port ${port} of ${address} can't be listened on: ${why}; choose another with --rest-port or --mcp-port.`, { cause: error }))
    })
    server.listen(port, address, () => resolve((server.address() as AddressInfo).port))
  })
}

async function closeServer(server: Server): Promise<void> {
  if (!server.listening) return
  const timer = setTimeout(() => server.closeAllConnections(), DRAIN_MS)
  await new Promise<void>((resolve) => {
    server.close(() => resolve())
    server.closeIdleConnections()
  })
  clearTimeout(timer)
}
