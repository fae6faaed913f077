/**
 * A real server process for a test: its own port, data directory and key, and nothing left when it stops.
 *
 *   await using server = await startServer({ host: 'simulated' })
 *   const { status, body } = await server.request('GET', '/instances')
 */
import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, chownSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { openNetwork } from '../../src/host/network/network.ts'
import { hostPaths } from '../../src/host/paths.ts'
import { owe, paid, removeRemains } from './left-behind.ts'

const MAIN = fileURLToPath(new URL('../../src/server/main.ts', import.meta.url))
const COMPILE_CACHE = fileURLToPath(new URL('../../.berth/compile-cache', import.meta.url))
/** A busy machine starts slowly; a broken server says so at once by ending. */
const START_WAIT_MS = 120_000
const STOP_WAIT_MS = 60_000
const POLL_MS = 20
/** Lines of the server's log that a failed test shows. */
const LOG_TAIL_LINES = 60

export interface TestServerOptions {
  /** Default `simulated`. */
  readonly host?: 'simulated' | 'qemu'
  /** Variables over the test's own defaults. */
  readonly env?: Readonly<Record<string, string>>
  /** The program instead of the sources' `src/server/main.ts`: one that was packed. */
  readonly main?: string
  /** The user and group that it runs as, whose the directory becomes; default our own. */
  readonly uid?: number
  /** A directory that outlives the server, to start another one over it; the caller removes it. */
  readonly dataDir?: string
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  /** Parsed if it is JSON; null if there is none. */
  readonly body: unknown
  readonly text: string
}

export interface RequestOptions {
  /** Sent as JSON; a string or bytes go as they are. */
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  /** Default: the administrator's; null sends none. */
  readonly key?: string | null
  readonly signal?: AbortSignal
}

export interface TestServer extends AsyncDisposable {
  /** `http://127.0.0.1:PORT` */
  readonly url: string
  readonly key: string
  readonly dataDir: string
  /** The network bridge that it uses alone; null on a simulated host. */
  readonly bridgeName: string | null
  readonly pid: number
  request(method: string, path: string, options?: RequestOptions): Promise<Answer>
  /** All that the process wrote so far. */
  output(): string
  /** Deletes every instance (unless told to keep them), stops the process and asserts that it ended well. */
  stop(options?: { readonly keepInstances?: boolean }): Promise<void>
  /** Ends it as a crash would; instances of a qemu host run on. */
  kill(): Promise<void>
}

/** Starts a server and waits until it answers. */
export async function startServer(options: TestServerOptions = {}): Promise<TestServer> {
  const host = options.host ?? 'simulated'
  const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), 'bt-'))
  // VMs run as users of their own, who pass through here.
  if (options.dataDir === undefined) chmodSync(dataDir, 0o711)
  if (options.uid !== undefined) chownSync(dataDir, options.uid, options.uid)
  const network = host === 'qemu' ? ownNetwork(dataDir) : null
  const chunks: string[] = []
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', options.main ?? MAIN], {
    env: {
      PATH: process.env['PATH'] ?? '',
      HOME: process.env['HOME'] ?? '/root',
      // As the launcher sets it.
      NODE_COMPILE_CACHE: COMPILE_CACHE,
      BERTH_HOST: host,
      BERTH_LISTEN: '127.0.0.1:0',
      BERTH_MCP_LISTEN: '',
      BERTH_DATA_DIR: dataDir,
      BERTH_LOG_LEVEL: 'info',
      // VMs that wait would take what little CPU the tests have; test/pool-vm.test.ts has some.
      BERTH_POOL: 'no',
      ...(network === null ? {} : { BERTH_BRIDGE: network.bridgeName, BERTH_SUBNET: network.subnet }),
      ...options.env,
    },
    ...(options.uid === undefined ? {} : { uid: options.uid, gid: options.uid }),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const ended = once(child, 'close')
  const processDebt = `server ${child.pid}`
  owe(dataDir, () => removeRemains({ dataDir, network: network === null ? null : { mode: 'auto', ...network } }))
  owe(processDebt, async () => void child.kill('SIGKILL'))
  void ended.then(() => paid(processDebt))
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => chunks.push(chunk))
  }
  const output = () => chunks.join('')
  const cleanUp = async () => {
    if (network !== null) {
      await (await openNetwork({ mode: 'auto', ...network, owner: dataDir })).teardown()
      rmSync(hostPaths(dataDir).run, { recursive: true, force: true })
    }
    if (options.dataDir === undefined) rmSync(dataDir, { recursive: true, force: true })
    paid(dataDir)
  }
  const url = await untilHealthy(child, dataDir, output).catch(async (error: unknown) => {
    await cleanUp()
    throw error
  })
  const key = readFileSync(join(dataDir, 'admin.key'), 'utf8').trim()
  const pid = child.pid ?? 0
  let over = false

  const finish = async (signal: NodeJS.Signals): Promise<number | null> => {
    over = true
    child.kill(signal)
    const late = sleep(STOP_WAIT_MS, 'late' as const, { ref: false })
    if ((await Promise.race([ended, late])) === 'late') {
      child.kill('SIGKILL')
      await ended
      assert.fail(`the server did not stop within ${STOP_WAIT_MS} ms\n${tail(output())}`)
    }
    return child.exitCode
  }

  const server: TestServer = {
    url,
    key,
    dataDir,
    bridgeName: network?.bridgeName ?? null,
    pid,
    output,
    request: (method, path, request = {}) => send(url, method, path, { key, ...request }),
    async stop({ keepInstances = false } = {}) {
      if (over) return
      try {
        if (!keepInstances) await deleteInstances(server)
        const exitCode = await finish('SIGTERM')
        assert.equal(exitCode, 0, `the server ended with ${exitCode ?? child.signalCode}\n${tail(output())}`)
        if (!keepInstances) assert.deepEqual(processesOf(dataDir), [], 'a process that works in the data directory is left')
      } finally {
        if (!over) await finish('SIGKILL')
        if (!keepInstances || host === 'simulated') await cleanUp()
      }
    },
    async kill() {
      if (!over) await finish('SIGKILL')
    },
    [Symbol.asyncDispose]: () => server.stop(),
  }
  return server
}

/** One request, without a server object: for another key, another process, another address. */
export async function send(url: string, method: string, path: string, options: RequestOptions = {}): Promise<Answer> {
  const isRaw = typeof options.body === 'string' || options.body instanceof Uint8Array
  const body = options.body === undefined ? null : isRaw ? (options.body as string | Uint8Array<ArrayBuffer>) : JSON.stringify(options.body)
  const response = await fetch(new URL(path, url), {
    method,
    body,
    headers: {
      ...(options.key === null || options.key === undefined ? {} : { authorization: `Bearer ${options.key}` }),
      ...(options.body === undefined || isRaw ? {} : { 'content-type': 'application/json' }),
      ...options.headers,
    },
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  })
  const text = await response.text()
  const isJson = /\bjson\b/.test(response.headers.get('content-type') ?? '')
  return { status: response.status, headers: response.headers, text, body: text !== '' && isJson ? (JSON.parse(text) as unknown) : null }
}

/** Asks until `ready` gives something other than null; fails with `what` after the limit. */
export async function eventually<T>(what: string, ready: () => Promise<T | null>, timeoutMs = 60_000): Promise<T> {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    const value = await ready()
    if (value !== null) return value
    if (Date.now() > deadline) assert.fail(`not within ${timeoutMs} ms: ${what}`)
    await sleep(POLL_MS * 5)
  }
}

/** A bridge and addresses that no other server of this machine has, and the same ones for the same directory. */
function ownNetwork(dataDir: string): { readonly bridgeName: string; readonly subnet: string } {
  const [first = 0, second = 0] = createHash('sha256').update(dataDir).digest()
  return { bridgeName: `t${createHash('sha256').update(dataDir).digest('hex').slice(0, 8)}`, subnet: `10.${128 + (first % 64)}.${second}.0/24` }
}

async function untilHealthy(child: ChildProcess, dataDir: string, output: () => string): Promise<string> {
  const deadline = Date.now() + START_WAIT_MS
  while (Date.now() < deadline) {
    if (child.exitCode !== null || child.signalCode !== null) assert.fail(`the server ended while it started\n${tail(output())}`)
    const url = announcedUrl(dataDir, child.pid)
    if (url !== null && (await fetch(new URL('/healthz', url)).then(answer => answer.ok, () => false))) return url
    await sleep(POLL_MS)
  }
  child.kill('SIGKILL')
  assert.fail(`the server was not ready within ${START_WAIT_MS} ms\n${tail(output())}`)
}

function announcedUrl(dataDir: string, pid: number | undefined): string | null {
  try {
    const owner = JSON.parse(readFileSync(join(dataDir, 'server.json'), 'utf8')) as { readonly pid: number; readonly url: string }
    return owner.pid === pid ? owner.url : null
  } catch {
    // Not announced yet, or half written.
    return null
  }
}

async function deleteInstances(server: TestServer): Promise<void> {
  const { body } = await server.request('GET', '/instances')
  const instances = body as readonly { readonly id: string }[]
  await Promise.all(instances.map(({ id }) => server.request('DELETE', `/instances/${id}`)))
}

/** Command lines of processes that name the directory. */
function processesOf(dataDir: string): readonly string[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map(pid => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      } catch {
        // It ended meanwhile.
        return ''
      }
    })
    .filter(line => line.includes(`${dataDir}/`))
}

function tail(text: string): string {
  return text.split('\n').slice(-LOG_TAIL_LINES).join('\n')
}
