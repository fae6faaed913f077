/**
 * Where a host keeps its files: the only place that spells host paths.
 *
 *   <data>/instances/<uuid>/    vm.json overlay.ext4 volume-<port>.ext4 memory state *.log
 *   <data>/images/  <data>/volumes/      laid out by those rooms
 *   <data>/guest/<version>/     the guest's kernel and initramfs
 *   <data>/templates/<uuid>/    template.json memory state: booted guests that instances are cloned from
 *   <data>/snapshots/<uuid>/    snapshot.json overlay.ext4 volume-<port>.ext4 memory state; `<uuid>.part` while it is made
 *   <data>/host/                what the host remembers of the machine (id, accelerator verdict)
 *   <run>/<8 hex>/data-dir      whose runtime directory it is
 *   <run>/<8 hex>/<uuid>/       sockets; emptied by a reboot, and short: a socket's path has at most 107 bytes
 *
 * Invariant: nothing that a guest or a client named becomes part of a path; instance ids are checked to be UUIDs.
 */
import { createHash } from 'node:crypto'
import { isAbsolute, join, resolve } from 'node:path'
import { BerthError } from '../instance/errors.ts'
import type { InstanceId } from '../instance/model.ts'

/** What Linux allows in sun_path, less its closing zero. */
export const MAX_SOCKET_PATH_BYTES = 107

/** In a runtime directory: the name of the data directory that it is for, since its own name can't be turned back. */
export const OWNER_FILE = 'data-dir'

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

export interface InstancePaths {
  readonly dir: string
  /** The record of the VM, replaced atomically. */
  readonly record: string
  /** The writable layer of the root. */
  readonly overlay: string
  /** Guest memory, mapped shared by QEMU. */
  readonly memory: string
  /** Device state of a standby. */
  readonly state: string
  readonly appLog: string
  readonly consoleLog: string
  readonly vmmLog: string
  readonly serverLog: string
  /** The writable layer of a volume that is attached with `overlay`, by the port it sits behind. */
  volumeOverlay(port: number): string
  readonly runDir: string
  readonly qmpSocket: string
  readonly agentSocket: string
  /** Where QEMU delivers device state while it suspends. */
  readonly stateSocket: string
}

export interface HostPaths {
  readonly data: string
  readonly run: string
  readonly instances: string
  readonly images: string
  readonly volumes: string
  readonly templates: string
  readonly snapshots: string
  readonly host: string
  /** Kernel and initramfs, by version. */
  readonly guest: string
  readonly hostId: string
  readonly acceleratorVerdict: string
  instance(id: InstanceId): InstancePaths
  /** The instance a directory below `instances` belongs to; null for anything else. */
  instanceOf(directoryName: string): InstanceId | null
}

/** The runtime directory where the operator names none: `/run/berth` for root, else the user's own. */
export function defaultRunDir(): string {
  if (process.getuid?.() === 0) return '/run/berth'
  return join(process.env['XDG_RUNTIME_DIR'] ?? `/tmp/berth-${process.getuid?.() ?? 0}`, 'berth')
}

/** All paths of a host. Throws `invalid_request` if sockets below `runDir` would have too long a path. */
export function hostPaths(dataDir: string, runDir: string = defaultRunDir()): HostPaths {
  if (!isAbsolute(dataDir) || !isAbsolute(runDir)) {
    throw new BerthError('invalid_request', `The data and runtime directories must be absolute paths: ${dataDir}, ${runDir}.`)
  }
  const data = resolve(dataDir)
  // Two installations on one machine share a runtime directory, not its contents.
  const run = join(resolve(runDir), createHash('sha256').update(data).digest('hex').slice(0, 8))
  const host = join(data, 'host')
  const paths: HostPaths = {
    data,
    run,
    instances: join(data, 'instances'),
    images: join(data, 'images'),
    volumes: join(data, 'volumes'),
    templates: join(data, 'templates'),
    snapshots: join(data, 'snapshots'),
    host,
    guest: join(data, 'guest'),
    hostId: join(host, 'id'),
    acceleratorVerdict: join(host, 'accelerator.json'),
    instance: (id) => instancePaths(data, run, id),
    instanceOf: (name) => (UUID.test(name) ? (name as InstanceId) : null),
  }
  const longest = paths.instance('00000000-0000-4000-8000-000000000000' as InstanceId).agentSocket
  if (Buffer.byteLength(longest) > MAX_SOCKET_PATH_BYTES) {
    throw new BerthError('invalid_request', `The runtime directory ${runDir} is too deep for Unix sockets; choose one of at most 40 characters.`)
  }
  return paths
}

function instancePaths(data: string, run: string, id: InstanceId): InstancePaths {
  if (!UUID.test(id)) throw new BerthError('invalid_request', `An instance id must be a lower-case UUID, not ${JSON.stringify(id)}.`)
  const dir = join(data, 'instances', id)
  const runDir = join(run, id)
  return {
    dir,
    record: join(dir, 'vm.json'),
    overlay: join(dir, 'overlay.ext4'),
    memory: join(dir, 'memory'),
    state: join(dir, 'state'),
    appLog: join(dir, 'app.log'),
    consoleLog: join(dir, 'console.log'),
    vmmLog: join(dir, 'vmm.log'),
    serverLog: join(dir, 'server.log'),
    volumeOverlay: (port) => join(dir, `volume-${port}.ext4`),
    runDir,
    qmpSocket: join(runDir, 'qmp'),
    agentSocket: join(runDir, 'agent'),
    stateSocket: join(runDir, 'state'),
  }
}
