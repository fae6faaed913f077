/**
 * Runs a tool of the machine to its end: argument array, own environment, bounded output, a deadline.
 *
 * No shell is ever involved. A tool that is missing says which package brings it; one that fails says
 * what it printed; one that finds no room on the disk becomes `disk_full`.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { Socket } from 'node:net'
import { BerthError } from '../instance/errors.ts'

export interface CommandOptions {
  /** Given to the tool's stdin, whole; without it stdin is empty. */
  readonly input?: string
  /** The tool is killed after this long. */
  readonly timeoutMs?: number
  readonly cwd?: string
  /** Added to the plain environment that every tool gets. */
  readonly env?: Readonly<Record<string, string>>
}

export const DEFAULT_COMMAND_TIMEOUT_MS = 20_000
/** More than this on stdout is a defect: the tool is killed. */
export const MAX_COMMAND_OUTPUT_BYTES = 64 * 1024 * 1024
/** Of stderr only this much is kept, from its start. */
export const MAX_COMMAND_ERROR_BYTES = 16 * 1024

/** A tool ran and said no. `stderr` is what it printed, cut at a limit. */
export class CommandFailed extends Error {
  override readonly name = 'CommandFailed'
  readonly tool: string
  /** null when a signal ended it. */
  readonly status: number | null
  readonly stderr: string

  constructor(tool: string, status: number | null, signal: NodeJS.Signals | null, stderr: string) {
    super(`${tool} failed (${signal === null ? `status ${status}` : `signal ${signal}`}): ${firstLines(stderr)}`)
    this.tool = tool
    this.status = status
    this.stderr = stderr
  }
}

/** The distribution's package that brings a tool, where it isn't named like the tool. */
const PACKAGES: Readonly<Record<string, string>> = {
  ip: 'iproute2',
  tc: 'iproute2',
  nft: 'nftables',
  mke2fs: 'e2fsprogs',
}

/** Tools live in sbin as often as in bin, and an unprivileged user's PATH has no sbin. */
export const TOOL_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** The environment every tool starts with: nothing of ours, messages in English. */
export const TOOL_ENVIRONMENT: Readonly<Record<string, string>> = { PATH: TOOL_PATH, LC_ALL: 'C' }

/** Runs `tool` and gives its stdout. Throws `CommandFailed`, or a catalogue error where the cause is known. */
export async function runCommand(tool: string, args: readonly string[], options: CommandOptions = {}): Promise<string> {
  return await startTool(tool, args, options).finish(options.input ?? '', options.timeoutMs)
}

/** A tool that has been started and waits for its input. */
export interface StartedTool {
  /** Settles when it has ended or could not be started; never rejects. */
  readonly ended: Promise<void>
  /** Gives it all its input and waits for its end, with `runCommand`'s answers. Once. */
  finish(input: string, timeoutMs?: number): Promise<string>
  /** It has no input to come; it keeps nobody from ending, and ends itself when we do. */
  unref(): void
  kill(): void
}

/** Starts a tool. What it does before it reads its input is behind it when the input comes. */
export function startTool(tool: string, args: readonly string[], options: Omit<CommandOptions, 'input' | 'timeoutMs'> = {}): StartedTool {
  // Where the server has no descriptor left, the child has no streams: its error follows, and must find a listener.
  const child: ChildProcess = spawn(tool, args, {
    cwd: options.cwd,
    env: { ...TOOL_ENVIRONMENT, ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const end = new Promise<{ status: number | null; signal: NodeJS.Signals | null }>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, by) => resolve({ status: code, signal: by }))
  })
  const output: Buffer[] = []
  const errors: Buffer[] = []
  let outputBytes = 0
  let errorBytes = 0
  let ended: 'late' | 'loud' | null = null
  const kill = (why: 'late' | 'loud') => {
    ended ??= why
    child.kill('SIGKILL')
  }
  child.stdout?.on('data', (chunk: Buffer) => {
    outputBytes += chunk.length
    if (outputBytes > MAX_COMMAND_OUTPUT_BYTES) kill('loud')
    else output.push(chunk)
  })
  child.stderr?.on('data', (chunk: Buffer) => {
    const kept = chunk.subarray(0, MAX_COMMAND_ERROR_BYTES - errorBytes)
    errorBytes += kept.length
    if (kept.length > 0) errors.push(kept)
  })
  // A tool that ends without reading its input breaks the pipe; its status tells more than that.
  child.stdin?.on('error', () => undefined)
  const streams = [child.stdin, child.stdout, child.stderr].filter((stream) => stream instanceof Socket)
  return {
    ended: end.then(() => undefined, () => undefined),
    finish: async (input, timeoutMs = DEFAULT_COMMAND_TIMEOUT_MS) => {
      child.ref()
      for (const stream of streams) stream.ref()
      const timer = setTimeout(() => kill('late'), timeoutMs)
      child.stdin?.end(input)
      try {
        const { status, signal } = await end
        const stderr = Buffer.concat(errors).toString('utf8').trim()
        if (ended === 'late') throw new BerthError('timeout', `${tool} did not finish within ${timeoutMs / 1000} s; the machine may be overloaded.`)
        if (ended === 'loud') throw new BerthError('internal', `${tool} printed more than ${MAX_COMMAND_OUTPUT_BYTES} bytes.`)
        if (status === 0) return Buffer.concat(output).toString('utf8')
        throw refine(new CommandFailed(tool, status, signal, stderr))
      } catch (error) {
        throw missing(tool, error) ?? error
      } finally {
        clearTimeout(timer)
      }
    },
    unref: () => {
      child.unref()
      for (const stream of streams) stream.unref()
    },
    kill: () => void child.kill('SIGKILL'),
  }
}

/** `disk_full` for a system error that says so, else the error itself. */
export function asDiskError(error: unknown, what: string): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : null
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return error
  return new BerthError('disk_full', `The disk is full: no room for ${what}; free some space on the host and try again.`, { cause: error })
}

function refine(failure: CommandFailed): Error {
  if (!/no space left on device|disk quota exceeded/i.test(failure.stderr)) return failure
  return new BerthError('disk_full', `The disk is full: ${failure.tool} could not finish; free some space on the host and try again.`, {
    cause: failure,
  })
}

function missing(tool: string, error: unknown): BerthError | null {
  if (!(error instanceof Error) || !('code' in error) || error.code !== 'ENOENT') return null
  const brings = PACKAGES[tool] ?? tool
  return new BerthError('host_unavailable', `The tool ${tool} is not on this machine; install the package ${brings}.`, { cause: error })
}

function firstLines(text: string): string {
  return text === '' ? 'it said nothing' : text.split('\n').slice(0, 3).join(' / ')
}
