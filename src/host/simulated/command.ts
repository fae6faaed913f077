/**
 * The few commands that a pretended guest knows, with the stream semantics of real ones: stdin with an end, stdout and
 * stderr apart, exit codes, signals, a time limit; and back-pressure both ways, so that neither side's pace grows memory.
 */
import { createHash } from 'node:crypto'
import type { ExecExit, ExecOutput, ExecRequest, ExecSession } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'

/** Chunks that a pipe holds before its writer waits. */
const PIPE_LIMIT_CHUNKS = 16
const SIGKILL = 9
const SIGNAL_BASE = 128
const NOT_FOUND = 127
const TIMER_LIMIT_MS = 2 ** 31 - 1

/** A bounded queue between one writer and one reader. */
class Pipe<T> {
  readonly #chunks: T[] = []
  #ended = false
  #wake: (() => void)[] = []

  async write(chunk: T): Promise<void> {
    while (this.#chunks.length >= PIPE_LIMIT_CHUNKS && !this.#ended) await this.#change()
    if (this.#ended) return
    this.#chunks.push(chunk)
    this.#signal()
  }

  end(): void {
    this.#ended = true
    this.#signal()
  }

  async *read(): AsyncGenerator<T> {
    for (;;) {
      const chunk = this.#chunks.shift()
      if (chunk !== undefined) {
        this.#signal()
        yield chunk
      } else if (this.#ended) return
      else await this.#change()
    }
  }

  #change(): Promise<void> {
    return new Promise(resolve => this.#wake.push(resolve))
  }

  #signal(): void {
    const waiting = this.#wake
    this.#wake = []
    for (const resolve of waiting) resolve()
  }
}

export interface CommandContext {
  readonly request: ExecRequest
  readonly env: Readonly<Record<string, string>>
  readonly hostname: string
}

interface Process {
  readonly args: readonly string[]
  readonly context: CommandContext
  readonly input: AsyncIterable<Uint8Array>
  readonly out: (data: Uint8Array | string) => Promise<void>
  readonly err: (text: string) => Promise<void>
  /** Aborted when a signal ends it. */
  readonly killed: AbortSignal
}

const COMMANDS: Readonly<Record<string, (process: Process) => Promise<number>>> = {
  true: async () => 0,
  false: async () => 1,
  exit: async ({ args }) => Number(args[0] ?? 0) & 0xff,
  async echo({ args, out }) {
    await out(`${args.join(' ')}\n`)
    return 0
  },
  async cat({ input, out }) {
    for await (const chunk of input) await out(chunk)
    return 0
  },
  async sha256sum({ input, out }) {
    const hash = createHash('sha256')
    for await (const chunk of input) hash.update(chunk)
    await out(`${hash.digest('hex')}  -\n`)
    return 0
  },
  async sleep({ args, killed }) {
    await sleep(Number(args[0] ?? 0) * 1000, killed)
    return 0
  },
  async env({ context, out }) {
    for (const [key, value] of Object.entries({ ...context.env, ...context.request.env })) await out(`${key}=${value}\n`)
    return 0
  },
  async hostname({ context, out }) {
    await out(`${context.hostname}\n`)
    return 0
  },
  async err({ args, err }) {
    await err(`${args.join(' ')}\n`)
    return 0
  },
}

/** Runs a command; `command_not_found` for one that the pretended guest doesn't know. */
export function runCommand(context: CommandContext): ExecSession & { kill(signal: number): void } {
  const { request } = context
  const [name = '', ...args] = request.command
  const command = COMMANDS[name.replace(/^.*\//, '')]
  if (command === undefined) throw new BerthError('command_not_found', `${name}: not found in the guest.`, { details: { exitCode: NOT_FOUND } })
  const input = new Pipe<Uint8Array>()
  const output = new Pipe<ExecOutput>()
  const killed = new AbortController()
  const ending = Promise.withResolvers<ExecExit>()
  let signalled: number | null = null
  let timedOut = false
  const kill = (signal: number) => {
    signalled ??= signal
    killed.abort()
    input.end()
    output.end()
  }
  const emit = (stream: ExecOutput['stream'], data: Uint8Array | string) =>
    output.write({ stream: request.tty === null ? stream : 'stdout', data: typeof data === 'string' ? Buffer.from(data) : data })
  const timer = request.timeoutMs === null ? null : setTimeout(() => ((timedOut = true), kill(SIGKILL)), request.timeoutMs)
  const process = { args, context, input: input.read(), out: (data: Uint8Array | string) => emit('stdout', data), err: (text: string) => emit('stderr', text) }
  command({ ...process, killed: killed.signal })
    .catch((error: unknown) => emit('stderr', `${name}: ${String(error)}\n`).then(() => 1))
    .then(code => {
      if (timer !== null) clearTimeout(timer)
      input.end()
      output.end()
      ending.resolve(signalled === null ? { code, signal: null, timedOut: false } : { code: SIGNAL_BASE + signalled, signal: signalled, timedOut })
    }, ending.reject)
  return {
    output: output.read(),
    exit: ending.promise,
    write: data => input.write(Buffer.from(data)),
    async endInput() {
      input.end()
    },
    resize() {},
    signal: kill,
    close: () => kill(SIGKILL),
    kill,
  }
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const timer = setTimeout(resolve, ms)
    signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true })
  })
}

/** While this file holds anything, and for this program always, no health check passes. */
export const DEAF_FILE = '/tmp/deaf'
export function isDeafCommand([name = '']: readonly string[]): boolean {
  return name.replace(/^.*\//, '') === 'deaf'
}

/** How the application of a pretended instance behaves: when it ends by itself, and with which code. */
export function lifeOf(command: readonly string[]): { readonly runsForMs: number | null; readonly code: number; readonly output: string } {
  const [name = '', ...args] = command
  switch (name.replace(/^.*\//, '')) {
    case 'true':
      return { runsForMs: 0, code: 0, output: '' }
    case 'false':
      return { runsForMs: 0, code: 1, output: '' }
    case 'exit':
      return { runsForMs: 0, code: Number(args[0] ?? 0) & 0xff, output: '' }
    case 'echo':
      return { runsForMs: 0, code: 0, output: args.join(' ') }
    case 'sleep':
      // Longer than a timer can be set is for ever.
      return Number(args[0]) * 1000 <= TIMER_LIMIT_MS
        ? { runsForMs: Number(args[0]) * 1000, code: 0, output: '' }
        : { runsForMs: null, code: 0, output: '' }
    default:
      return { runsForMs: null, code: 0, output: `${command.join(' ')} is ready` }
  }
}
