/** The `berth` command as a child process of a test, against one server. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

export const CLI_MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url))
/** A command that takes longer is stuck, however busy the machine is. */
const LIMIT_MS = 240_000

export interface Outcome {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface CommandOptions {
  readonly input?: string | Uint8Array
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
}

export interface Running {
  readonly child: ChildProcess
  readonly done: Promise<Outcome>
  /** What it wrote so far. */
  readonly stdout: () => string
}

/** The environment of a command that knows this server and nothing of this machine. */
export function commandEnv(server: { readonly url: string; readonly key: string }, more: Readonly<Record<string, string>> = {}): Record<string, string> {
  return {
    PATH: process.env['PATH'] ?? '',
    HOME: '/nonexistent',
    XDG_CONFIG_HOME: '/nonexistent',
    BERTH_DATA_DIR: '/nonexistent',
    BERTH_SERVER: server.url,
    BERTH_KEY: server.key,
    ...more,
  }
}

/** A command line of one server's: what each call does is its whole run. */
export interface CommandLine {
  readonly berth: (...args: readonly string[]) => Promise<Outcome>
  readonly berthWith: (options: CommandOptions, ...args: readonly string[]) => Promise<Outcome>
  /** Its stdout, if it ends with this status. */
  readonly ends: (status: number, ...args: readonly string[]) => Promise<string>
  /** Asserts the status, and that the failure is one sentence on stderr. */
  readonly fails: (status: number, says: RegExp, ...args: readonly string[]) => Promise<void>
}

/** The environment is asked for at each call: tests have it once their server runs. */
export function commandLine(env: () => Readonly<Record<string, string>>): CommandLine {
  const berthWith: CommandLine['berthWith'] = (options, ...args) => startBerth(env(), args, options).done
  const berth: CommandLine['berth'] = (...args) => berthWith({}, ...args)
  return {
    berth,
    berthWith,
    async ends(status, ...args) {
      const outcome = await berth(...args)
      assert.equal(outcome.status, status, `berth ${args.join(' ')}\n${outcome.stdout}${outcome.stderr}`)
      return outcome.stdout
    },
    async fails(status, says, ...args) {
      const { status: got, stderr, stdout } = await berth(...args)
      assert.equal(got, status, `berth ${args.join(' ')}\n${stdout}${stderr}`)
      assert.match(stderr, says)
      assert.match(stderr, /^berth: [^\n]+[.?!]\n$/, 'one sentence')
    },
  }
}

/** Starts a command; `done` is its end. */
export function startBerth(env: Readonly<Record<string, string>>, args: readonly string[], options: CommandOptions = {}): Running {
  const child = spawn(process.execPath, [CLI_MAIN, ...args], {
    env: { ...env, ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: LIMIT_MS,
  })
  const out: Buffer[] = []
  const err: Buffer[] = []
  child.stdout.on('data', (data: Buffer) => out.push(data))
  child.stderr.on('data', (data: Buffer) => err.push(data))
  // A command that doesn't read its input may end before it was written.
  child.stdin.on('error', () => undefined)
  child.stdin.end(options.input ?? '')
  const text = (chunks: readonly Buffer[]) => Buffer.concat(chunks).toString('utf8')
  const done = once(child, 'close').then(([status]) => ({ status: status as number | null, stdout: text(out), stderr: text(err) }))
  return { child, done, stdout: () => text(out) }
}

/** A Python program that runs argv on a pseudo-terminal and plays the person who types. */
const PTY_DRIVER = `
import json, os, pty, select, sys, time, fcntl, termios, struct, signal
spec = json.loads(sys.argv[1])
pid, fd = pty.fork()
if pid == 0:
    os.execvpe(spec['argv'][0], spec['argv'], spec['env'])
def size(rows, cols):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', rows, cols, 0, 0))
size(24, 80)
seen = b''
def read(until, seconds):
    global seen
    end = time.time() + seconds
    while until is None or until not in seen:
        left = end - time.time()
        if left <= 0:
            return until is None
        ready, _, _ = select.select([fd], [], [], left)
        if ready:
            try:
                data = os.read(fd, 65536)
            except OSError:
                return False
            if not data:
                return False
            seen += data
    seen_at = seen.index(until) + len(until)
    globals()['told'] = globals().get('told', b'') + seen[:seen_at]
    globals()['seen'] = seen[seen_at:]
    return True
told = b''
failed = None
for step in spec['steps']:
    if 'expect' in step and not read(step['expect'].encode(), 100):
        failed = step['expect']
        break
    while step.get('raw') and termios.tcgetattr(fd)[3] & termios.ICANON:
        time.sleep(0.02)
    if 'resize' in step:
        size(*step['resize'])
    if 'type' in step:
        os.write(fd, step['type'].encode())
if failed is None:
    read(b'\\0never\\0', 100)
else:
    os.kill(pid, signal.SIGKILL)
_, status = os.waitpid(pid, 0)
try:
    cooked = bool(termios.tcgetattr(fd)[3] & termios.ICANON)
except OSError:
    cooked = None
print(json.dumps({'cooked': cooked, 'output': (told + seen).decode('utf8', 'replace'), 'status': os.waitstatus_to_exitcode(status), 'failed': failed}))
`

/** Done in the order of these fields. */
export interface PtyStep {
  /** Waits until this was written. */
  readonly expect?: string
  /** Waits until the command has put the terminal into raw mode. */
  readonly raw?: boolean
  readonly resize?: readonly [rows: number, cols: number]
  readonly type?: string
}

export interface TerminalOutcome {
  readonly output: string
  readonly status: number
  /** What was expected and never came. */
  readonly failed: string | null
  /** Whether the terminal is in its usual mode afterwards. */
  readonly cooked: boolean
}

/** Runs `berth` on a real pseudo-terminal. */
export async function onTerminal(
  env: Readonly<Record<string, string>>,
  args: readonly string[],
  steps: readonly PtyStep[],
): Promise<TerminalOutcome> {
  const spec = { argv: [process.execPath, CLI_MAIN, ...args], env: { TERM: 'xterm-256color', ...env }, steps }
  const child = spawn('python3', ['-c', PTY_DRIVER, JSON.stringify(spec)], { stdio: ['ignore', 'pipe', 'inherit'], timeout: LIMIT_MS })
  const chunks: Buffer[] = []
  child.stdout.on('data', (data: Buffer) => chunks.push(data))
  await once(child, 'close')
  return JSON.parse(Buffer.concat(chunks).toString('utf8')) as TerminalOutcome
}
