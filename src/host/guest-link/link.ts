/**
 * The link to one guest's agent: what can be asked of it, one method each. See guest/PROTOCOL.md.
 *
 * A link belongs to one connection. When the connection breaks, everything that waits on it fails with
 * `guest_unreachable`; a new `GuestLink.connect` shakes hands anew, and the guest ends what the old one ran.
 */
import { randomBytes } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import type { CopyItem, CopyOutOptions, ExecExit, ExecRequest, ExecSession, PathInfo } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'
import type { AppExit } from '../../instance/model.ts'
import type { Channel, ChannelEnd } from './channel.ts'
import { copyIn, copyOut, readResult } from './copy.ts'
import type { AppRequest, GuestConfig, GuestMemory, GuestModule, GuestShare, GuestStatus, GuestVolume } from './guest-config.ts'
import {
  clampSize,
  decodeAppExit,
  decodeExecExit,
  decodeMemory,
  decodePathInfo,
  decodeStatus,
  encodeApp,
  encodeClock,
  encodeConfig,
  encodeExec,
  encodeModule,
  encodePath,
  encodeShare,
  encodeVolume,
} from './message.ts'
import { FRAME, MIN_ENTROPY_BYTES, PROTOCOL_VERSION, TAG } from './protocol.ts'
import { TlvWriter } from './tlv.ts'
import { Wire } from './wire.ts'

/** What a channel's unread output may hold here. */
const WINDOW_BYTES = 1024 * 1024
const ENTROPY_BYTES = 2 * MIN_ENTROPY_BYTES
/** For an answer that needs no work of the guest; generous, since an emulated guest on a busy machine is slow. */
const ANSWER_MS = 60_000
/** For an answer that mounts disks. */
const MOUNT_MS = 120_000
/** Between the end of the grace period and the report of the exit. */
const STOP_MARGIN_MS = 60_000

export interface ConnectOptions {
  /** Until the guest has answered; a boot may be part of it. */
  readonly timeoutMs: number
  readonly signal?: AbortSignal | undefined
}

export class GuestLink {
  readonly #wire: Wire
  readonly #exitListeners = new Set<(exit: AppExit) => void>()
  readonly #closeListeners = new Set<(error: BerthError) => void>()
  #status: GuestStatus
  #closedWith: BerthError | null = null

  private constructor(wire: Wire, status: GuestStatus) {
    this.#wire = wire
    this.#status = status
    wire.onControl = (frame) => {
      if (frame.type !== FRAME.appExit) return
      const exit = decodeAppExit(frame.payload)
      this.#status = { ...this.#status, state: 'app-exited', exit }
      for (const listener of this.#exitListeners) listener(exit)
    }
    wire.onBroken = (error) => {
      this.#closedWith = error
      for (const listener of this.#closeListeners) listener(error)
    }
  }

  /** Waits for the socket and for the agent behind it, at most `timeoutMs`; then the guest is this link's. */
  static async connect(socketPath: string, options: ConnectOptions): Promise<GuestLink> {
    const wire = await Wire.open(socketPath, options)
    const { protocol, ...status } = decodeStatus(wire.hello)
    if (protocol !== PROTOCOL_VERSION) {
      const error = new BerthError('not_supported', `The guest's agent speaks protocol ${protocol}, this Berth ${PROTOCOL_VERSION}: start the instance anew.`)
      wire.break(error)
      throw error
    }
    return new GuestLink(wire, status)
  }

  /** As of the handshake, and what was learnt since. */
  get status(): GuestStatus {
    return this.#status
  }

  /** Makes a blank guest one instance; once. Fresh entropy and the wall clock go with it. */
  async configure(config: GuestConfig): Promise<void> {
    await this.#ask(FRAME.configure, encodeConfig(config, randomBytes(ENTROPY_BYTES), Date.now()), MOUNT_MS).catch(tellDisk)
    this.#status = { ...this.#status, state: 'configured' }
  }

  /** Makes a copy of another instance's guest this one: its identity, not its disks. Its programs are frozen meanwhile. */
  async renew(config: GuestConfig): Promise<void> {
    await this.#ask(FRAME.renew, encodeConfig(config, randomBytes(ENTROPY_BYTES), Date.now()), MOUNT_MS)
  }

  /** Resolves when what programs have written is on the disks. */
  async sync(): Promise<void> {
    const channel = this.#wire.request(FRAME.sync, new Uint8Array(0), WINDOW_BYTES)
    await this.#within(MOUNT_MS, channel, channel.ended)
  }

  /**
   * Does what a launch does, for nobody: `config` names disks that stand in, whose image has /bin/rehearsal; after
   * {@link mountRoot} the image is the guest's own. The guest stays blank; what an emulated CPU has to translate first
   * is translated afterwards.
   */
  async rehearse(config: GuestConfig): Promise<void> {
    await this.#ask(FRAME.rehearse, encodeConfig(config, randomBytes(ENTROPY_BYTES), Date.now()), MOUNT_MS)
  }

  /** Mounts the image's root and the writable layer that `config` names, before anybody is the guest. It stays blank. */
  async mountRoot(config: GuestConfig): Promise<void> {
    await this.#ask(FRAME.mountRoot, encodeConfig(config, randomBytes(ENTROPY_BYTES), Date.now()), MOUNT_MS)
  }

  /** Starts the application; once. That it couldn't be executed comes as its exit, with 126 or 127. */
  async startApp(app: AppRequest): Promise<void> {
    await this.#ask(FRAME.appStart, encodeApp(app), ANSWER_MS)
    if (this.#status.state === 'configured') this.#status = { ...this.#status, state: 'app-running' }
  }

  /** The stop signal, grace, SIGKILL. Resolves with the exit; the guest then powers off by itself. */
  async stopApp(options: { readonly graceMs: number }): Promise<AppExit> {
    const exited = this.#nextExit(options.graceMs + STOP_MARGIN_MS)
    exited.catch(() => undefined) // awaited below, unless the request itself fails
    if (this.#status.exit === null) await this.#ask(FRAME.appStop, new TlvWriter().number(TAG.grace, Math.max(0, Math.ceil(options.graceMs))).finish(), ANSWER_MS)
    return await exited
  }

  /** Runs a command. Rejects with `command_not_found`, `guest_path` (not executable, no such directory), … */
  async exec(request: ExecRequest): Promise<ExecSession> {
    const channel = this.#wire.request(FRAME.exec, encodeExec(request, WINDOW_BYTES), WINDOW_BYTES)
    await this.#within(ANSWER_MS, channel, channel.opened)
    return new GuestExec(channel)
  }

  async stat(path: string, options: { readonly followLinks: boolean }): Promise<PathInfo> {
    const channel = this.#wire.request(FRAME.stat, encodePath(path, { ...options, windowBytes: WINDOW_BYTES }), WINDOW_BYTES)
    try {
      return decodePathInfo(await this.#within(ANSWER_MS, channel, readResult(channel)), null)
    } catch (error) {
      if (error instanceof BerthError && error.code === 'guest_path') return decodePathInfo(new Uint8Array(0), error.message)
      throw error
    }
  }

  /** Writes a tree below `root` (the entry with the path `` is `root` itself). Takes no `error` items. */
  async copyIn(root: string, items: AsyncIterable<CopyItem>): Promise<{ readonly bytesWritten: number }> {
    const channel = this.#wire.request(FRAME.copyIn, encodePath(root, { windowBytes: WINDOW_BYTES }), WINDOW_BYTES)
    return await copyIn(channel, items)
  }

  /** Reads a file or tree; what can't be read, also the root itself, becomes an `error` item. */
  copyOut(path: string, options: CopyOutOptions): AsyncIterable<CopyItem> {
    return copyOut(this.#wire.request(FRAME.copyOut, encodePath(path, { ...options, windowBytes: WINDOW_BYTES }), WINDOW_BYTES))
  }

  /** Waits for the disk (10 s) and mounts it. */
  async mountVolume(volume: GuestVolume): Promise<void> {
    const channel = this.#wire.request(FRAME.mount, encodeVolume(volume), WINDOW_BYTES)
    await this.#within(MOUNT_MS, channel, readResult(channel)).catch(tellDisk)
  }

  /** Mounts what the host serves; the modules for that have been loaded. */
  async mountShare(share: GuestShare): Promise<void> {
    const channel = this.#wire.request(FRAME.mount, encodeShare(share), WINDOW_BYTES)
    await this.#within(MOUNT_MS, channel, readResult(channel))
  }

  /** Afterwards the disk can be unplugged. `volume_in_use` if files are open in it; nothing if it isn't mounted. */
  async unmountVolume(path: string): Promise<void> {
    const channel = this.#wire.request(FRAME.unmount, encodePath(path, {}), WINDOW_BYTES)
    await this.#within(MOUNT_MS, channel, readResult(channel))
  }

  /** The wall clock and fresh entropy: what a restored guest needs before anything else runs. */
  async setClock(): Promise<void> {
    await this.#ask(FRAME.setClock, encodeClock(randomBytes(ENTROPY_BYTES), Date.now()), ANSWER_MS)
  }

  async addEntropy(entropy: Uint8Array): Promise<void> {
    await this.#ask(FRAME.setClock, new TlvWriter().bytes(TAG.entropy, entropy).finish(), ANSWER_MS)
  }

  /** Stops the application and every command where they stand. */
  async freeze(): Promise<void> {
    await this.#ask(FRAME.freeze, new Uint8Array(0), ANSWER_MS)
  }

  async thaw(): Promise<void> {
    await this.#ask(FRAME.thaw, new Uint8Array(0), ANSWER_MS)
  }

  async memory(): Promise<GuestMemory> {
    return decodeMemory((await this.#ask(FRAME.memory, new Uint8Array(0), ANSWER_MS)).body)
  }

  /** Loads a kernel module that goes with the request; one that is loaded already stays. */
  async loadModule(module: GuestModule): Promise<void> {
    await this.#ask(FRAME.loadModule, encodeModule(module), ANSWER_MS)
  }

  /** Kills everything, writes the disks out and powers off. Resolves when the guest has begun. */
  async powerOff(): Promise<void> {
    await this.#ask(FRAME.powerOff, new Uint8Array(0), ANSWER_MS)
  }

  /** Milliseconds there and back. */
  async ping(timeoutMs: number = ANSWER_MS): Promise<number> {
    const start = performance.now()
    await this.#ask(FRAME.ping, new Uint8Array(0), timeoutMs)
    return performance.now() - start
  }

  /** Told once when the application ends, also if it has already. Returns the way to stop listening. */
  onExit(listener: (exit: AppExit) => void): () => void {
    this.#exitListeners.add(listener)
    const { exit } = this.#status
    if (exit !== null) queueMicrotask(() => this.#exitListeners.has(listener) && listener(exit))
    return () => void this.#exitListeners.delete(listener)
  }

  /** Told once when the connection is over, also if it is already. */
  onClose(listener: (error: BerthError) => void): () => void {
    this.#closeListeners.add(listener)
    const error = this.#closedWith
    if (error !== null) queueMicrotask(() => this.#closeListeners.has(listener) && listener(error))
    return () => void this.#closeListeners.delete(listener)
  }

  /** Lets go of the guest: its commands end with the next handshake, its application runs on. */
  close(): void {
    this.#wire.break(new BerthError('cancelled', 'The link to the guest was closed.'))
  }

  async #ask(type: number, body: Uint8Array, timeoutMs: number): Promise<ChannelEnd> {
    const channel = this.#wire.request(type, body, WINDOW_BYTES)
    return await this.#within(timeoutMs, channel, channel.ended)
  }

  async #within<T>(timeoutMs: number, channel: Channel, answer: Promise<T>): Promise<T> {
    const timer = setTimeout(() => {
      channel.close(new BerthError('guest_unreachable', `The guest's agent didn't answer within ${timeoutMs / 1000} s.`))
    }, timeoutMs)
    try {
      return await answer
    } finally {
      clearTimeout(timer)
    }
  }

  #nextExit(timeoutMs: number): Promise<AppExit> {
    return new Promise((resolve, reject) => {
      const settle = (act: () => void): void => {
        clearTimeout(timer)
        stopExit()
        stopClose()
        act()
      }
      const timer = setTimeout(
        () => settle(() => reject(new BerthError('timeout', `The application didn't end within ${timeoutMs / 1000} s.`))),
        timeoutMs,
      )
      const stopExit = this.onExit((exit) => settle(() => resolve(exit)))
      const stopClose = this.onClose((error) => settle(() => reject(error)))
    })
  }
}

/** A disk that the guest can't mount is no defect of ours: somebody wrote into it, or took something from its file. */
function tellDisk(error: unknown): never {
  if (!(error instanceof BerthError) || error.code !== 'internal' || !error.message.includes("can't be mounted")) throw error
  throw new BerthError('invalid_state', `A disk of the instance is damaged, or its file is: ${error.message}. Restore it from a copy, or use another.`, { cause: error })
}

class GuestExec implements ExecSession {
  readonly output: ExecSession['output']
  readonly exit: Promise<ExecExit>
  readonly #channel: Channel

  constructor(channel: Channel) {
    this.#channel = channel
    this.output = channel.lentOutput()
    this.exit = channel.ended.then((end) => decodeExecExit(end.body))
    this.exit.catch(() => undefined) // whoever cares awaits it
  }

  write(data: Uint8Array): Promise<void> {
    return this.#channel.write(data)
  }

  endInput(): Promise<void> {
    return this.#channel.endInput()
  }

  resize(rows: number, cols: number): void {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt16LE(clampSize(rows), 0)
    bytes.writeUInt16LE(clampSize(cols), 2)
    this.#channel.send(FRAME.resize, bytes)
  }

  signal(signal: number): void {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32LE(clampSize(signal))
    this.#channel.send(FRAME.signal, bytes)
  }

  close(): void {
    this.#channel.close()
  }
}
