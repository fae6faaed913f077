/**
 * The QEMU Machine Protocol over a Unix socket: one JSON object a line, commands with ids, events in between.
 *
 *   ◀ {"QMP": {"version": …}}                       greeting
 *   ▶ {"execute": "qmp_capabilities", "id": 1}
 *   ◀ {"return": {}, "id": 1}
 *   ◀ {"event": "SHUTDOWN", "data": {…}, "timestamp": …}
 *
 * Invariants: several commands may be in flight; each has a deadline; when the socket closes, all that wait
 * are told. QEMU serves one client at a time: a second one waits for its greeting until the first has gone.
 */
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { BerthError } from '../../instance/errors.ts'

export const DEFAULT_COMMAND_TIMEOUT_MS = 15_000
/** No answer of QEMU that Berth asks for comes near this. */
export const MAX_LINE_BYTES = 4 * 1024 * 1024
export const MAX_IN_FLIGHT = 64
const CONNECT_RETRY_MS = 4

export interface QmpEvent {
  readonly event: string
  readonly data: Readonly<Record<string, unknown>>
}

/** QEMU answered a command with an error: the cause of the catalogue error that is thrown. */
export class QmpRefusal extends Error {
  override readonly name = 'QmpRefusal'
  /** `GenericError`, `CommandNotFound`, `DeviceNotFound`, … */
  readonly class: string

  constructor(errorClass: string, description: string) {
    super(description)
    this.class = errorClass
  }
}

interface Waiting {
  readonly command: string
  readonly resolve: (value: unknown) => void
  readonly reject: (error: BerthError) => void
  readonly timer: NodeJS.Timeout
}

export class QmpClient {
  readonly #socket: Socket
  readonly #waiting = new Map<number, Waiting>()
  readonly #listeners = new Set<(event: QmpEvent) => void>()
  /** Of those who wait for an event. */
  readonly #giveUp = new Set<() => void>()
  readonly #greeting = Promise.withResolvers<Record<string, unknown>>()
  readonly #closed = Promise.withResolvers<void>()
  #isClosed = false
  #version = ''
  #nextId = 1
  #rest: Buffer[] = []
  #restBytes = 0

  private constructor(socket: Socket) {
    this.#socket = socket
    // A greeting that nobody waits for any more must not become an unhandled rejection.
    this.#greeting.promise.catch(() => undefined)
    socket.on('data', (chunk: Buffer) => this.#receive(chunk))
    socket.on('error', () => socket.destroy())
    socket.on('close', () => this.#end())
  }

  /**
   * Connects, waiting for the socket to appear, and negotiates. `guard` is asked before each try and
   * throws when waiting has become pointless (the process has ended).
   */
  static async connect(path: string, options: { readonly timeoutMs: number; readonly guard?: () => void }): Promise<QmpClient> {
    const deadline = performance.now() + options.timeoutMs
    const socket = await openSocket(path, deadline, options.guard)
    const client = new QmpClient(socket)
    const timer = setTimeout(() => client.#greeting.reject(late('its greeting')), Math.max(1, deadline - performance.now()))
    try {
      const version = readVersion(await client.#greeting.promise)
      await client.execute('qmp_capabilities')
      client.#version = version
      return client
    } catch (error) {
      client.close()
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  /** As QEMU says it: `7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)`. */
  get version(): string {
    return this.#version
  }

  /** Resolves when the connection is gone, whoever closed it. */
  get closed(): Promise<void> {
    return this.#closed.promise
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** Throws `internal` with a `QmpRefusal` as its cause if QEMU says no, `timeout`, or `guest_unreachable` when QEMU ended. */
  async execute(command: string, args: Readonly<Record<string, unknown>> = {}, timeoutMs = DEFAULT_COMMAND_TIMEOUT_MS): Promise<unknown> {
    if (this.#isClosed) throw ended()
    if (this.#waiting.size >= MAX_IN_FLIGHT) throw new BerthError('internal', `More than ${MAX_IN_FLIGHT} QEMU commands are in flight.`)
    const id = this.#nextId++
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id)
        reject(late(`the command ${command}`))
      }, timeoutMs)
      this.#waiting.set(id, { command, resolve, reject, timer })
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`)
    })
  }

  onEvent(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** The first event from now on that `matches`; the deadline, a closed socket and a `signal` that nobody waits any more reject. */
  async nextEvent(matches: (event: QmpEvent) => boolean, timeoutMs: number, signal?: AbortSignal): Promise<QmpEvent> {
    if (this.#isClosed) throw ended()
    const found = Promise.withResolvers<QmpEvent>()
    const stop = this.onEvent((event) => {
      if (matches(event)) found.resolve(event)
    })
    const timer = setTimeout(() => found.reject(late('an event')), timeoutMs)
    const giveUp = () => found.reject(ended())
    this.#giveUp.add(giveUp)
    signal?.addEventListener('abort', giveUp, { once: true })
    try {
      return await found.promise
    } finally {
      clearTimeout(timer)
      stop()
      this.#giveUp.delete(giveUp)
      signal?.removeEventListener('abort', giveUp)
    }
  }

  close(): void {
    this.#socket.destroy()
    this.#end()
  }

  #receive(chunk: Buffer): void {
    let from = 0
    for (;;) {
      const at = chunk.indexOf(0x0a, from)
      if (at < 0) break
      this.#rest.push(chunk.subarray(from, at))
      const line = Buffer.concat(this.#rest).toString('utf8')
      this.#rest = []
      this.#restBytes = 0
      from = at + 1
      this.#take(line)
    }
    if (from < chunk.length) {
      this.#rest.push(chunk.subarray(from))
      this.#restBytes += chunk.length - from
      if (this.#restBytes > MAX_LINE_BYTES) this.close()
    }
  }

  #take(line: string): void {
    if (line.trim() === '') return
    let message: unknown
    try {
      message = JSON.parse(line)
    } catch {
      // A peer that speaks no JSON is not QEMU: let go of it, and whoever waits learns that.
      this.close()
      return
    }
    if (!isObject(message)) return
    if (isObject(message['QMP'])) this.#greeting.resolve(message['QMP'])
    else if (typeof message['event'] === 'string') this.#tell({ event: message['event'], data: asObject(message['data']) })
    else this.#answer(message)
  }

  #answer(message: Record<string, unknown>): void {
    const id = message['id']
    const waiting = typeof id === 'number' ? this.#waiting.get(id) : undefined
    if (waiting === undefined || typeof id !== 'number') return
    this.#waiting.delete(id)
    clearTimeout(waiting.timer)
    if (!('error' in message)) {
      waiting.resolve(message['return'])
      return
    }
    const error = asObject(message['error'])
    const refusal = new QmpRefusal(textOr(error['class'], 'GenericError'), textOr(error['desc'], 'no reason given'))
    waiting.reject(new BerthError('internal', `QEMU refused ${waiting.command}: ${refusal.message}.`, { cause: refusal }))
  }

  #tell(event: QmpEvent): void {
    for (const listener of this.#listeners) listener(event)
  }

  #end(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#greeting.reject(ended())
    for (const waiting of this.#waiting.values()) {
      clearTimeout(waiting.timer)
      waiting.reject(ended())
    }
    this.#waiting.clear()
    for (const giveUp of this.#giveUp) giveUp()
    this.#closed.resolve()
  }
}

async function openSocket(path: string, deadline: number, guard: (() => void) | undefined): Promise<Socket> {
  for (;;) {
    guard?.()
    try {
      return await connectOnce(path)
    } catch (error) {
      if (!isNotYetThere(error)) throw new BerthError('internal', `QEMU's control socket ${path} can't be used.`, { cause: error })
      if (performance.now() >= deadline) throw new BerthError('timeout', `QEMU did not open its control socket ${path} in time.`, { cause: error })
    }
    await sleep(CONNECT_RETRY_MS)
  }
}

function connectOnce(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path)
    socket.once('error', reject)
    socket.once('connect', () => {
      socket.removeListener('error', reject)
      resolve(socket)
    })
  })
}

function isNotYetThere(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ECONNREFUSED' || error.code === 'EAGAIN')
}

function readVersion(greeting: Record<string, unknown>): string {
  const version = asObject(greeting['version'])
  const numbers = asObject(version['qemu'])
  const text = `${String(numbers['major'])}.${String(numbers['minor'])}.${String(numbers['micro'])}`
  const build = textOr(version['package'], '').trim()
  return build === '' ? text : `${text} (${build})`
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function asObject(value: unknown): Record<string, unknown> {
  return isObject(value) ? value : {}
}

function textOr(value: unknown, otherwise: string): string {
  return typeof value === 'string' ? value : otherwise
}

function late(what: string): BerthError {
  return new BerthError('timeout', `QEMU did not answer ${what} in time; the machine may be overloaded.`)
}

function ended(): BerthError {
  return new BerthError('guest_unreachable', 'The VM ended while Berth talked to it.')
}
