/**
 * Runs one of the programs that images are made with (skopeo, umoci, mkfs.erofs, tar, …) to its end.
 *
 * - Argument arrays only, an environment of its own, a deadline, bounded output.
 * - The child leads its own process group, which is killed whole; and it dies with this process
 *   (`setpriv --pdeathsig`), so that after a crash nobody writes into directories that the next start sweeps.
 */
import { spawn } from 'node:child_process'
import { BerthError } from '../../instance/errors.ts'

/** Of stderr the end is kept: that is where programs say why they gave up. */
const STDERR_KEPT_BYTES = 16 * 1024
/** What a program may print to stdout unless told otherwise. */
const STDOUT_LIMIT_BYTES = 8 * 1024 * 1024
const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
/** What a program needs of our environment to reach a registry as the operator wishes; nothing else is passed on. */
const PASSED_ON = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'http_proxy', 'https_proxy', 'no_proxy', 'SSL_CERT_FILE', 'SSL_CERT_DIR']

export interface ToolRun {
  readonly tool: string
  readonly args: readonly string[]
  /** Its home, temporary directory and working directory; nothing of the operator's own is seen. */
  readonly workDir: string
  readonly deadlineMs: number
  readonly signal?: AbortSignal
  readonly stdoutLimitBytes?: number
}

/** How a program failed, for the room to turn into a catalogue error. */
export class ToolFailure extends Error {
  override readonly name = 'ToolFailure'
  readonly tool: string
  readonly why: 'exit' | 'deadline' | 'aborted' | 'too-much-output'
  readonly stderr: string
  /** What the signal was aborted with; undefined otherwise. */
  readonly abortReason: unknown

  constructor(tool: string, why: ToolFailure['why'], detail: string, stderr: string, abortReason?: unknown) {
    super(`${tool}: ${detail}${stderr === '' ? '' : `: ${stderr}`}`)
    this.tool = tool
    this.why = why
    this.stderr = stderr
    this.abortReason = abortReason
  }
}

/** Resolves with stdout when the program ends with 0; throws `ToolFailure`, or `host_unavailable` if it isn't installed. */
export async function runTool(run: ToolRun): Promise<Buffer> {
  if (run.signal?.aborted === true) throw new ToolFailure(run.tool, 'aborted', 'not started', '', run.signal.reason)
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', run.tool, ...run.args], {
    cwd: run.workDir,
    env: environment(run.workDir),
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  // Without a descriptor left it has no streams: what follows throws then, and its error must not end the server.
  child.on('error', () => undefined)
  const stdoutLimitBytes = run.stdoutLimitBytes ?? STDOUT_LIMIT_BYTES
  const stdout: Buffer[] = []
  let stdoutBytes = 0
  let stderr = Buffer.alloc(0)
  let ended: 'deadline' | 'aborted' | 'too-much-output' | null = null
  const end = (why: NonNullable<typeof ended>) => {
    ended ??= why
    killGroup(child.pid)
  }
  child.stdout.on('data', (chunk: Buffer) => {
    stdoutBytes += chunk.length
    if (stdoutBytes > stdoutLimitBytes) end('too-much-output')
    else stdout.push(chunk)
  })
  child.stderr.on('data', (chunk: Buffer) => {
    stderr = Buffer.concat([stderr, chunk]).subarray(-STDERR_KEPT_BYTES)
  })
  const onAbort = () => end('aborted')
  run.signal?.addEventListener('abort', onAbort, { once: true })
  const deadline = setTimeout(() => end('deadline'), run.deadlineMs)
  try {
    const status = await new Promise<string | null>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code, signal) => resolve(code === 0 ? null : signal === null ? `exit status ${code}` : `ended by ${signal}`))
    })
    const said = stderr.toString('utf8').trim()
    if (ended !== null) throw new ToolFailure(run.tool, ended, ENDED_BECAUSE[ended], said, run.signal?.reason)
    if (status === null) return Buffer.concat(stdout)
    if (said.startsWith('setpriv: failed to execute')) throw notInstalled(run.tool, said)
    throw new ToolFailure(run.tool, 'exit', status, said)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') throw notInstalled('setpriv', error)
    throw error
  } finally {
    clearTimeout(deadline)
    run.signal?.removeEventListener('abort', onAbort)
  }
}

const ENDED_BECAUSE = {
  deadline: 'took too long',
  aborted: 'was told to stop',
  'too-much-output': 'printed too much',
} as const

function environment(workDir: string): Record<string, string> {
  const env: Record<string, string> = {
    PATH: process.env['PATH'] ?? DEFAULT_PATH,
    HOME: workDir,
    TMPDIR: workDir,
    XDG_RUNTIME_DIR: workDir,
    LC_ALL: 'C',
  }
  for (const name of PASSED_ON) {
    const value = process.env[name]
    if (value !== undefined) env[name] = value
  }
  return env
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // It has ended by itself meanwhile.
  }
}

function notInstalled(tool: string, cause: unknown): BerthError {
  return new BerthError('host_unavailable', `The host has no \`${tool}\`; install it, or run \`berth doctor\` to see all that is missing.`, { cause })
}
