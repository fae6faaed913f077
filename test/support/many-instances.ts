/** A database with very many instances and events, written at once: what lists are measured and judged over. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { InstanceSpec } from '../../src/instance/model.ts'
import { openStore } from '../../src/store/open.ts'
import { startServer } from './server.ts'
import type { TestServer, TestServerOptions } from './server.ts'

export const EVENTS_EACH = 10
/** Instances of one service, at most. */
const IN_SERVICE = 500

export interface Many {
  readonly projectId: string
  readonly serviceId: string
  readonly count: number
  /** Of every second one; the others are deleted. */
  readonly phase: 'running' | 'stopped'
}

export const MANY_SERVICE_ID = '9a1c7e5e-3b1c-4a55-8f4b-6f7a4c3f9b10'

/** A server on a simulated host over a database with so many instances; half of them are deleted, and none runs. */
export async function serverWithMany(count: number, { env, ...more }: Omit<TestServerOptions, 'dataDir'> = {}): Promise<AsyncDisposable & { readonly server: TestServer }> {
  const dataDir = mkdtempSync(join(tmpdir(), 'bt-'))
  chmodSync(dataDir, 0o711)
  const options = { ...more, dataDir, env: { BERTH_LOG_LEVEL: 'warn', ...env } }
  try {
    const first = await startServer(options)
    const { projectId } = (await first.request('GET', '/berth/v1/whoami')).body as { projectId: string }
    await first.stop({ keepInstances: true })
    await fillWithMany(join(dataDir, 'berth.db'), { projectId, serviceId: MANY_SERVICE_ID, count, phase: 'stopped' })
    const server = await startServer(options)
    return {
      server,
      async [Symbol.asyncDispose]() {
        await server.stop({ keepInstances: true })
        rmSync(dataDir, { recursive: true, force: true })
      },
    }
  } catch (error) {
    rmSync(dataDir, { recursive: true, force: true })
    throw error
  }
}

/** Fills the database at this path, which is made if it is not there. */
export async function fillWithMany(path: string, { projectId, serviceId, count, phase }: Many): Promise<void> {
  await (await openStore({ path })).close()
  const raw = new DatabaseSync(path)
  const spec = JSON.stringify({
    name: 'x',
    image: 'localhost/busybox',
    vcpus: 1,
    memoryBytes: 2 ** 28,
    hotplugBytes: 0,
    overlayBytes: 2 ** 30,
    diskIoBytesPerSecond: null,
    env: { PORT: '8080' },
    entrypoint: null,
    cmd: ['sleep', '1000'],
    user: null,
    workingDir: null,
    hostname: null,
    network: { enabled: true, downloadBytesPerSecond: null, uploadBytesPerSecond: null, ports: [] },
    volumes: [],
    restart: { kind: 'never' },
    afterHostRestart: 'restart',
    tags: {},
    stopGraceMs: 10_000,
    removeWhenStopped: false,
    expiresAt: null,
    sshKeys: [],
    fileSystems: [],
    firewallRulesets: null,
  } satisfies InstanceSpec)
  try {
    raw.exec('PRAGMA synchronous=OFF')
    const numbers = (until: number) => `with recursive numbers(n) as (select 0 union all select n + 1 from numbers where n + 1 < ${until})`
    raw
      .prepare(`${numbers(count)} insert into instances
        (id, project_id, name, tags, spec, image_digest, desired, phase, phase_since, reason, error_code, host_id, address, generation, exit,
         restart_attempts, created_at, started_at, stopped_at, deleted_at, origin, annotations)
        select printf('%08x-0000-4000-8000-000000000000', n), ?, 'name-' || n, '{}', ?, null, ?,
         case when n % 2 = 0 then ? else 'deleted' end, n, null, null, null, null, 1, null, 0, n, n, null, null, 'test',
         case when n < ? then json_object('service_id', ?, 'replica_index', '0') else '{}' end
        from numbers`)
      .run(projectId, spec, phase, phase, IN_SERVICE, serviceId)
    raw
      .prepare(`${numbers(count * EVENTS_EACH)} insert into events (instance_id, project_id, at, kind, from_phase, to_phase, reason)
        select printf('%08x-0000-4000-8000-000000000000', n / ${EVENTS_EACH}), ?, n, 'phase', null, 'running', null from numbers`)
      .run(projectId)
  } finally {
    raw.close()
  }
}
