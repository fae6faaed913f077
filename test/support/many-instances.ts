/** A database with very many instances and events, written at once: what lists are measured and judged over. */
import { DatabaseSync } from 'node:sqlite'
import type { InstanceSpec } from '../../src/instance/model.ts'
import { openStore } from '../../src/store/open.ts'

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
