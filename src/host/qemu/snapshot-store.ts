/**
 * The snapshots on this host's disk.
 *
 *   <snapshots>/<uuid>.part/    one that is being made; swept at the next start
 *   <snapshots>/<uuid>/         overlay.ext4, volume-<port>.ext4, with memory also `memory` and `state`; snapshot.json
 *
 * Invariants: a directory gets its name when all of it is there; a snapshot is never changed; one that had not
 * reached the disk when the machine went down is nothing.
 */
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { HostSnapshot } from '../../engine/host-snapshots.ts'
import type { KeptSpec } from '../../engine/host-port.ts'
import { isUuidV4 } from '../../instance/ids.ts'
import { BerthError } from '../../instance/errors.ts'
import type { ImageDigest, SnapshotId } from '../../instance/model.ts'
import { runCommand } from '../command.ts'
import { readJson, syncDirectory, writeJson } from './atomic-file.ts'
import { bootId } from './identity.ts'
import type { MachineIdentity } from './machine.ts'
import type { PluggedVolume } from './vm-record.ts'

/** Copying a full disk of 100 GB takes minutes where the file system can't share blocks. */
const COPY_TIMEOUT_MS = 600_000

export interface SnapshotRecord {
  readonly format: 1
  readonly id: SnapshotId
  /** Of the VM when it was copied. */
  readonly spec: KeptSpec
  readonly volumes: readonly PluggedVolume[]
  /** null where the disks alone were kept. */
  readonly memory: SavedMemory | null
  readonly bytes: number
  readonly bootId: string
  /** It has reached the disk; until then it is good only in this life of the machine. */
  readonly synced: boolean
}

export interface SavedMemory {
  /** What its pages are missing from; null if all of them are there. */
  readonly template: string | null
  readonly machine: MachineIdentity
}

export interface SnapshotFiles {
  readonly dir: string
  readonly record: string
  readonly overlay: string
  readonly memory: string
  readonly state: string
  volumeOverlay(port: number): string
}

export class SnapshotStore {
  readonly #root: string
  readonly #known = new Map<SnapshotId, SnapshotRecord>()

  private constructor(root: string) {
    this.#root = root
  }

  /** Finds what is there, and sweeps what was half made. */
  static async open(root: string): Promise<SnapshotStore> {
    const store = new SnapshotStore(root)
    await mkdir(root, { recursive: true, mode: 0o700 })
    for (const name of await readdir(root)) {
      const record = isUuidV4(name) ? await readSnapshot(join(root, name, 'snapshot.json')) : null
      if (record !== null && (record.synced || record.bootId === bootId())) store.#known.set(record.id, record)
      else await rm(join(root, name), { recursive: true, force: true })
    }
    return store
  }

  get(id: SnapshotId): SnapshotRecord | null {
    return this.#known.get(id) ?? null
  }

  /** Throws `not_found`. */
  require(id: SnapshotId): SnapshotRecord {
    const record = this.get(id)
    if (record === null) throw new BerthError('not_found', `The snapshot ${id} is not on this host any more.`, { details: { snapshotId: id } })
    return record
  }

  list(): readonly HostSnapshot[] {
    return [...this.#known.values()].map(asHostSnapshot)
  }

  /** Templates that snapshots need. */
  templates(): readonly string[] {
    return [...this.#known.values()].flatMap(({ memory }) => memory?.template ?? [])
  }

  userOf(image: ImageDigest): SnapshotId | null {
    return [...this.#known.values()].find(({ spec }) => spec.image === image)?.id ?? null
  }

  files(id: SnapshotId): SnapshotFiles {
    return filesIn(join(this.#root, id))
  }

  /** Makes a snapshot of what `fill` puts into the directory that it is given; nothing stays if it throws. */
  async make(id: SnapshotId, durable: boolean, fill: (files: SnapshotFiles) => Promise<Pick<SnapshotRecord, 'spec' | 'volumes' | 'memory'>>): Promise<HostSnapshot> {
    if (!isUuidV4(id)) throw new BerthError('invalid_request', `A snapshot id must be a lower-case UUID, not ${JSON.stringify(id)}.`)
    const beside = filesIn(join(this.#root, `${id}.part`))
    try {
      await rm(beside.dir, { recursive: true, force: true })
      await mkdir(beside.dir, { mode: 0o700 })
      const filled = await fill(beside)
      const bytes = await bytesIn(beside.dir)
      const record: SnapshotRecord = { format: 1, id, ...filled, bytes, bootId: bootId(), synced: durable }
      await writeJson(beside.record, record, { durable })
      if (durable) await runCommand('sync', ['--data', ...(await readdir(beside.dir)).map((name) => join(beside.dir, name))], { timeoutMs: COPY_TIMEOUT_MS })
      await rename(beside.dir, join(this.#root, id))
      if (durable) await syncDirectory(this.#root)
      this.#known.set(id, record)
      return asHostSnapshot(record)
    } catch (error) {
      await rm(beside.dir, { recursive: true, force: true })
      throw error
    }
  }

  async delete(id: SnapshotId): Promise<void> {
    if (!isUuidV4(id)) return
    this.#known.delete(id)
    // Out of the way first: half removed it must not be found again.
    const leaving = join(this.#root, `${id}.gone`)
    await rename(join(this.#root, id), leaving).catch((error: unknown) => {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
    })
    await rm(leaving, { recursive: true, force: true })
  }
}

/** Copies a file: shares its blocks where the file system can, and never fills its holes. */
export async function copySparse(from: string, to: string): Promise<void> {
  await runCommand('cp', ['--reflink=auto', '--sparse=auto', '--no-target-directory', '--', from, to], { timeoutMs: COPY_TIMEOUT_MS })
}

function filesIn(dir: string): SnapshotFiles {
  return {
    dir,
    record: join(dir, 'snapshot.json'),
    overlay: join(dir, 'overlay.ext4'),
    memory: join(dir, 'memory'),
    state: join(dir, 'state'),
    volumeOverlay: (port) => join(dir, `volume-${port}.ext4`),
  }
}

async function bytesIn(dir: string): Promise<number> {
  let bytes = 0
  for (const name of await readdir(dir)) bytes += (await stat(join(dir, name))).blocks * 512
  return bytes
}

function asHostSnapshot({ id, memory, bytes }: SnapshotRecord): HostSnapshot {
  return { id, memory: memory !== null, bytes }
}

async function readSnapshot(path: string): Promise<SnapshotRecord | null> {
  const value = await readJson(path)
  const isRecord = typeof value === 'object' && value !== null && 'format' in value && value.format === 1 && 'spec' in value && 'memory' in value
  return isRecord ? (value as SnapshotRecord) : null
}
