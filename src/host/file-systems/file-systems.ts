/**
 * The shared file systems of a host: the front door of this room.
 *
 *   <data>/file-systems/<uuid>/data.ext4      a sparse ext4 of its own: what is served can lead nowhere else
 *                              port.json      where its server listens, for life
 *                              server.json    the NFS server, while instances hold the file system
 *
 *   create ─▶ hold (first: its server starts) ⇄ drop (last: it ends) ─▶ delete
 *
 * One server a file system. An NFS handle names a file of the whole file system that it lies on, and root of a guest
 * makes handles as it likes: so no two projects ever share one, and none is the host's. Who may open a connection to
 * a server is said by nftables (network/), for each instance and port.
 *
 * Servers outlive the server of Berth. One that died under its instances is started again, on the same port; guests
 * mount hard, so that their programs wait meanwhile and go on.
 */
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { BerthError } from '../../instance/errors.ts'
import type { FileSystemId, InstanceId } from '../../instance/model.ts'
import { asDiskError } from '../command.ts'
import type { NetworkFacts } from '../network/network.ts'
import { readJson, writeJson } from '../qemu/atomic-file.ts'
import type { HostLog } from '../qemu/context.ts'
import { checkSize, fileExists, makeExt4 } from '../volumes/ext4.ts'
import { growExt4, undoGrowth } from './grow.ts'
import { whyNoFileSystems } from './needs.ts'
import { findServer, isFree, startServer, stopServer, usedBytes } from './server.ts'
import type { ServerRecord } from './server.ts'

export interface FileSystemsOptions {
  readonly dataDir: string
  readonly network: NetworkFacts
  readonly log: HostLog
}

/** Where a guest finds a file system. */
export interface Share {
  readonly address: string
  readonly port: number
}

const FIRST_PORT = 20_490
const PORTS = 4096
const DATA_FILE = 'data.ext4'
const USAGE = 'usage.json'
const PORT = 'port.json'
const DELETING = '.deleting-'
const MAKING = '.making'
/** How often it is looked whether the servers still run. */
const LOOK_EVERY_MS = 3_000
const ID = /^[0-9a-f-]{36}$/

export class FileSystems {
  readonly #options: FileSystemsOptions
  readonly #root: string
  readonly #holders = new Map<FileSystemId, Set<InstanceId>>()
  readonly #servers = new Map<FileSystemId, ServerRecord>()
  /** Each has one for life: a guest that sleeps mounted it there. */
  readonly #ports = new Map<FileSystemId, number>()
  readonly #lines = new Map<FileSystemId, Promise<unknown>>()
  readonly #look: NodeJS.Timeout
  #closed = false

  private constructor(options: FileSystemsOptions) {
    this.#options = options
    this.#root = join(options.dataDir, 'file-systems')
    this.#look = setInterval(() => void this.#revive(), LOOK_EVERY_MS)
    this.#look.unref()
  }

  static async open(options: FileSystemsOptions): Promise<FileSystems> {
    const room = new FileSystems(options)
    await mkdir(room.#root, { recursive: true, mode: 0o700 })
    for (const name of await readdir(room.#root)) {
      if (name.startsWith(DELETING)) await rm(join(room.#root, name), { recursive: true, force: true })
      if (!ID.test(name)) continue
      await undoGrowth(join(room.#root, name), join(room.#root, name, DATA_FILE)).catch((error: unknown) => {
        options.log.warn({ err: error, fileSystem: name }, 'a file system whose growth was cut off could not be put back')
      })
      const [record, port] = await Promise.all([findServer(join(room.#root, name)), readJson(join(room.#root, name, PORT))])
      if (record !== null) room.#servers.set(name as FileSystemId, record)
      if (typeof port === 'number') room.#ports.set(name as FileSystemId, port)
    }
    return room
  }

  /** Why this host can serve none, in a sentence; null if it can. */
  whyNot(): Promise<string | null> {
    return whyNoFileSystems(this.#options.network.mode)
  }

  /** The same again does nothing. */
  async create(request: { readonly id: FileSystemId; readonly sizeBytes: number }): Promise<void> {
    const why = await this.whyNot()
    if (why !== null) throw new BerthError('not_supported', why)
    const dir = this.#dir(request.id)
    await this.#inLine(request.id, async () => {
      if (await fileExists(join(dir, DATA_FILE))) return
      const beside = join(dir, MAKING)
      try {
        await mkdir(dir, { recursive: true, mode: 0o700 })
        await rm(beside, { force: true })
        await makeExt4(beside, { sizeBytes: checkSize(request.sizeBytes), label: 'berth-shared' })
        await rename(beside, join(dir, DATA_FILE))
      } catch (error) {
        await rm(dir, { recursive: true, force: true })
        throw asDiskError(error, 'a file system')
      }
    })
  }

  /** Larger, never smaller; the same again does nothing. Who has it mounted waits for a moment, as when its server dies. */
  async grow({ id, sizeBytes }: { readonly id: FileSystemId; readonly sizeBytes: number }): Promise<void> {
    const why = await this.whyNot()
    if (why !== null) throw new BerthError('not_supported', why)
    const dir = this.#dir(id)
    const file = join(dir, DATA_FILE)
    await this.#inLine(id, async () => {
      const found = await stat(file).catch(() => null)
      if (found === null) throw new BerthError('volume_not_found', `The file system ${id} is not on this host.`)
      if (found.size >= sizeBytes) return
      await this.#stop(id)
      try {
        await growExt4(dir, file, checkSize(sizeBytes))
      } finally {
        if ((this.#holders.get(id)?.size ?? 0) > 0) await this.#serve(id)
      }
    })
  }

  /** One that isn't there is gone already. */
  async delete(id: FileSystemId): Promise<void> {
    const dir = this.#dir(id)
    const [holder] = this.#holders.get(id) ?? []
    if (holder !== undefined) throw new BerthError('volume_in_use', `The file system ${id} is mounted in instance ${holder}: detach it there first.`)
    await this.#inLine(id, async () => {
      await this.#stop(id)
      if (!(await fileExists(dir))) return
      const going = join(this.#root, `${DELETING}${id}`)
      await rename(dir, going)
      this.#ports.delete(id)
      await rm(going, { recursive: true, force: true })
    })
  }

  /** Serves it to an instance, until `drop`; the same again finds it served. */
  async hold(id: FileSystemId, instanceId: InstanceId): Promise<Share> {
    const holders = this.#holders.get(id) ?? new Set()
    this.#holders.set(id, holders)
    holders.add(instanceId)
    try {
      const { port } = await this.#inLine(id, () => this.#serve(id))
      return { address: this.#options.network.gateway, port }
    } catch (error) {
      holders.delete(instanceId)
      throw error
    }
  }

  /** As `hold`, for a guest that has it mounted: what can't be served now is tried again, and the guest waits. */
  async takeOver(id: FileSystemId, instanceId: InstanceId): Promise<Share> {
    try {
      return await this.hold(id, instanceId)
    } catch (error) {
      const port = this.#ports.get(id)
      if (port === undefined) throw error
      this.#holders.set(id, new Set([...(this.#holders.get(id) ?? []), instanceId]))
      this.#options.log.warn({ err: error, fileSystem: id }, 'a file system can’t be served; it is tried again')
      return { address: this.#options.network.gateway, port }
    }
  }

  /** The instance needs none any more. */
  async drop(instanceId: InstanceId): Promise<void> {
    const held = [...this.#holders].filter(([, holders]) => holders.delete(instanceId)).map(([id]) => id)
    await Promise.all(held.map((id) => this.#inLine(id, () => this.#stopIfIdle(id))))
  }

  /** The instance needs this one no longer. */
  async release(id: FileSystemId, instanceId: InstanceId): Promise<void> {
    if (this.#holders.get(id)?.delete(instanceId) === true) await this.#inLine(id, () => this.#stopIfIdle(id))
  }

  /** After a start, when everybody holds what they need: ends the servers that nobody does. */
  async sweep(): Promise<void> {
    await Promise.all([...this.#servers.keys()].map((id) => this.#inLine(id, () => this.#stopIfIdle(id))))
  }

  /** Bytes that its files take; as last seen while it was served. */
  async usedBytes(id: FileSystemId): Promise<number> {
    const dir = this.#dir(id)
    const server = this.#servers.get(id)
    const now = server === undefined ? null : await usedBytes(server)
    if (now !== null) return now
    const last = await readJson(join(dir, USAGE))
    return typeof last === 'number' ? last : 0
  }

  /** Servers run on. */
  close(): void {
    this.#closed = true
    clearInterval(this.#look)
  }

  async #serve(id: FileSystemId): Promise<ServerRecord> {
    const dir = this.#dir(id)
    const running = await findServer(dir)
    if (running !== null) {
      this.#servers.set(id, running)
      return running
    }
    const why = await this.whyNot()
    if (why !== null) throw new BerthError('not_supported', why)
    if (!(await fileExists(join(dir, DATA_FILE)))) throw new BerthError('volume_not_found', `The file system ${id} is not on this host.`)
    const started = await startServer(dir, this.#options.network.gateway, await this.#portOf(id, dir))
    this.#servers.set(id, started)
    return started
  }

  async #stopIfIdle(id: FileSystemId): Promise<void> {
    if ((this.#holders.get(id)?.size ?? 0) > 0) return
    this.#holders.delete(id)
    await this.#stop(id)
  }

  async #stop(id: FileSystemId): Promise<void> {
    const dir = this.#dir(id)
    const server = this.#servers.get(id)
    if (server === undefined) return
    const used = await usedBytes(server)
    if (used !== null) await writeJson(join(dir, USAGE), used)
    await stopServer(dir, server)
    this.#servers.delete(id)
  }

  /** Starts again what should run and doesn't. */
  async #revive(): Promise<void> {
    for (const [id, holders] of this.#holders) {
      if (holders.size === 0 || this.#lines.has(id) || this.#closed) continue
      if ((await findServer(this.#dir(id))) !== null) continue
      this.#options.log.warn({ fileSystem: id }, 'the NFS server of a file system ended; it is started again')
      await this.#inLine(id, async () => {
        if ((this.#holders.get(id)?.size ?? 0) > 0) await this.#serve(id)
      }).catch((error: unknown) => {
        this.#options.log.warn({ err: error, fileSystem: id }, 'the NFS server of a file system could not be started again; it is tried again')
      })
    }
  }

  async #portOf(id: FileSystemId, dir: string): Promise<number> {
    const known = this.#ports.get(id)
    if (known !== undefined) return known
    for (let port = FIRST_PORT; port < FIRST_PORT + PORTS; port += 1) {
      if ([...this.#ports.values()].includes(port)) continue
      // Before anything is awaited: two that begin at once must not choose the same.
      this.#ports.set(id, port)
      if (await isFree(this.#options.network.gateway, port)) {
        await writeJson(join(dir, PORT), port)
        return port
      }
    }
    this.#ports.delete(id)
    throw new BerthError('limit_exceeded', `The host serves ${PORTS} file systems already: delete one.`)
  }

  /** One after the other for each file system. */
  async #inLine<T>(id: FileSystemId, work: () => Promise<T>): Promise<T> {
    const turn = (this.#lines.get(id) ?? Promise.resolve()).then(work)
    const settled = turn.catch(() => undefined)
    this.#lines.set(id, settled)
    try {
      return await turn
    } finally {
      if (this.#lines.get(id) === settled) this.#lines.delete(id)
    }
  }

  /** The engine made the id; it becomes a path here, so it is checked here. */
  #dir(id: FileSystemId): string {
    if (!ID.test(id)) throw new BerthError('invalid_name', `"${String(id).slice(0, 100)}" is no id of a file system.`)
    return join(this.#root, id)
  }
}
