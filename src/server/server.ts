/**
 * A whole Berth in one process: takes the data directory, opens store, host and engine, puts the dialects on one
 * listener, and ends in the opposite order.
 *
 * On the way down nothing is interrupted that a client could not repeat: new connections are refused, streams and
 * waits end, operations in flight reach a safe point, and the VMs run on for the next server to find.
 */
import { once } from 'node:events'
import { existsSync, mkdirSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import type { Caller } from '../engine/api.ts'
import type { HostFacts } from '../engine/host-port.ts'
import type { Dialect, DialectOptions } from '../dialects/dialect.ts'
import { hypemanDialect } from '../dialects/hypeman/routes.ts'
import { koyebDialect } from '../dialects/koyeb/routes.ts'
import { lambdaDialect } from '../dialects/lambda/routes.ts'
import { mithrilDialect } from '../dialects/mithril/routes.ts'
import { native } from '../dialects/native/routes.ts'
import { BerthError } from '../instance/errors.ts'
import { SCOPES } from '../instance/model.ts'
import { bringAdminKey } from './admin-key.ts'
import type { AdminKey } from './admin-key.ts'
import { assemble } from './assembly.ts'
import type { Assembly } from './assembly.ts'
import { makeAuthenticate } from './authenticate.ts'
import type { ServerConfig } from './config.ts'
import { lockDataDir } from './data-lock.ts'
import type { DataLock } from './data-lock.ts'
import { makeListener } from './listener.ts'
import { makeLog } from './logging.ts'
import { resourceOf, serveMcp } from './mcp-server.ts'
import type { ServedMcp } from './mcp-server.ts'
import { isOnlyFor } from './mcp-tokens.ts'
import { installMetrics } from './metrics.ts'
import { openSessions } from './sessions.ts'
import { BERTH_VERSION } from './version.ts'
import { installWeb, loadWeb } from './web.ts'

/** How long requests in flight may take to end once the server stops. */
const DRAIN_MS = 10_000

/** VMs run as users of their own, who must reach their own directories through ours; files are for the owner alone. */
const PASSABLE = 0o711

const DIALECTS: readonly Dialect[] = [hypemanDialect, koyebDialect, lambdaDialect, mithrilDialect, native]

export interface RunningServer {
  readonly url: string
  /** Where MCP is served; null if it is not. */
  readonly mcpUrl: string | null
  readonly dataDir: string
  readonly adminKey: AdminKey
  readonly facts: HostFacts
  /** Sentences that an operator should read. */
  readonly warnings: readonly string[]
  /** Stops it; the same promise however often it is called. */
  close(): Promise<void>
}

/** Starts a server. Throws a catalogue error with the sentence for the person if it can't. */
export async function runServer(config: ServerConfig, log: Logger = makeLog(config.logLevel)): Promise<RunningServer> {
  const lock = takeDataDir(config.dataDir)
  const undo: (() => unknown)[] = [() => lock.release()]
  try {
    await requireFreeAddress(config.listen)
    const assembly = await assemble(config, log)
    undo.push(() => assembly.close())
    const system: Caller = { projectId: assembly.defaultProject, keyId: null, scopes: SCOPES, via: 'server' }
    const adminKey = await bringAdminKey({
      dataDir: config.dataDir,
      given: config.adminKey,
      made: assembly.newAdminSecret,
      keys: assembly.engine.keys,
      system,
    })
    const stopping = new AbortController()
    const shared = sharedOptions(config, assembly, stopping.signal)
    const app = await listenerOver(config, log, assembly, shared)
    undo.push(() => app.close())
    const url = await listen(app, config)
    const mcp = await serveMcp({ ...shared, config: config.mcp, jwtSecret: config.jwtSecret, project: assembly.defaultProject, log: log.child({ room: 'mcp' }) })
    undo.push(() => mcp.close())
    lock.announce(url, mcp.url)
    const facts = await assembly.host.facts()
    log.info({ url, mcpUrl: mcp.url, dataDir: config.dataDir, accelerator: facts.accelerator, version: BERTH_VERSION }, 'Berth serves')
    let closing: Promise<void> | null = null
    return {
      url,
      mcpUrl: mcp.url,
      dataDir: config.dataDir,
      adminKey,
      facts,
      warnings: [...facts.warnings, ...mcp.warnings],
      close() {
        closing ??= closeAll({ app, mcp, assembly, lock, stopping, log })
        return closing
      },
    }
  } catch (error) {
    for (const step of undo.reverse()) await step()
    throw error
  }
}

function takeDataDir(dataDir: string): DataLock {
  try {
    makeDirs(dataDir)
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error)
    throw new BerthError('invalid_request', `The data directory ${dataDir} can't be made: ${problem}; choose another with --data-dir.`, { cause: error })
  }
  return lockDataDir(dataDir)
}

/** Like `mkdir -p`. Node's own never ends where the file system refuses with ENOENT, as /proc does. */
function makeDirs(dir: string): void {
  if (existsSync(dir)) return
  makeDirs(dirname(dir))
  mkdirSync(dir, { mode: PASSABLE })
}

type SharedOptions = Omit<DialectOptions, 'stateDir'>

/** What every surface is given. */
function sharedOptions(config: ServerConfig, assembly: Assembly, stopping: AbortSignal): SharedOptions {
  const authenticate = makeAuthenticate({
    keys: assembly.engine.keys,
    project: assembly.defaultProject,
    jwtSecret: config.jwtSecret,
    isForeign: claims => isOnlyFor(claims, resourceOf(config.mcp)),
  })
  return { engine: assembly.engine, authenticate, catalogue: assembly.catalogue, version: BERTH_VERSION, stopping, now: Date.now }
}

async function listenerOver(config: ServerConfig, log: Logger, assembly: Assembly, shared: SharedOptions): Promise<FastifyInstance> {
  const sessions = openSessions({ authenticate: shared.authenticate, file: join(config.dataDir, 'sessions.json'), now: shared.now })
  const dialects = DIALECTS.map(dialect => {
    const stateDir = join(config.dataDir, 'dialects', dialect.name)
    makeDirs(stateDir)
    return { dialect, options: { ...shared, stateDir, ...(dialect === native ? { sessions } : {}) } }
  })
  const app = await makeListener({ log, dialects })
  installWeb(app, loadWeb())
  installMetrics(app, {
    version: BERTH_VERSION,
    countInstances: phase => assembly.store.read.countInstances({ projectId: null, phases: [phase] }),
  })
  return app
}

async function listen(app: FastifyInstance, config: ServerConfig): Promise<string> {
  const { host, port } = config.listen
  try {
    await app.listen({ host, port })
  } catch (error) {
    throw cannotListen(config.listen, error)
  }
  const address = app.server.address()
  const actual = typeof address === 'object' && address !== null ? address.port : port
  const reachable = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  return `http://${reachable.includes(':') ? `[${reachable}]` : reachable}:${actual}`
}

/** Asked before a host is opened, which begins work that would have to be broken off. */
async function requireFreeAddress(address: ServerConfig['listen']): Promise<void> {
  const probe = createServer()
  try {
    probe.listen(address)
    await once(probe, 'listening')
  } catch (error) {
    throw cannotListen(address, error)
  } finally {
    probe.close()
  }
}

function cannotListen({ host, port }: ServerConfig['listen'], error: unknown): BerthError {
  const code = error instanceof Error && 'code' in error ? error.code : null
  const why = code === 'EADDRINUSE' ? 'something else listens there' : error instanceof Error ? error.message : String(error)
  return new BerthError('port_in_use', `Berth can't listen on ${host}:${port}: ${why}; choose another address with --listen.`, { cause: error })
}

interface Parts {
  readonly app: FastifyInstance
  readonly mcp: ServedMcp
  readonly assembly: Assembly
  readonly lock: DataLock
  readonly stopping: AbortController
  readonly log: Logger
}

async function closeAll({ app, mcp, assembly, lock, stopping, log }: Parts): Promise<void> {
  log.info('Berth stops; instances run on')
  stopping.abort()
  const drained = setTimeout(() => {
    log.warn(`requests still run after ${DRAIN_MS} ms; their connections are closed`)
    app.server.closeAllConnections()
  }, DRAIN_MS)
  try {
    await Promise.all([app.close(), mcp.close()])
  } finally {
    clearTimeout(drained)
    await assembly.close()
    lock.release()
  }
}
