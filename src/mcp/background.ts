/**
 * Commands that run in a guest while nobody waits for them. What is known of one lies in the guest itself, in a directory
 * of its own, so that it outlives this server, sleeps and wakes with its instance, and is in its snapshots and forks:
 *
 *   /tmp/command-<id>/output      what it wrote, both streams as they came
 *                    /group       its process group, and the boot that the group is of
 *                    /exit_code   once it has ended
 *
 * The shell that starts it leads the process group and goes; one of its children waits for the end and writes it down. It
 * needs `/bin/sh` in the image and nothing else that not every image with a shell has.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { randomBytes } from 'node:crypto'
import type { ExecRequest } from '../engine/host-port.ts'
import { runToEnd } from '../engine/run-command.ts'
import { BerthError } from '../instance/errors.ts'
import { quoteGo } from '../instance/go-text.ts'
import type { InstanceId } from '../instance/model.ts'
import { requirePatience } from './tool.ts'
import type { ToolContext } from './tool.ts'

/** Of the small scripts here, each. */
const SCRIPT_TIMEOUT_MS = 60_000
/** How often is asked whether it has ended: soon at first, then seldom. */
const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 2000
const REFUSED = { noDirectory: 125, unknown: 44 } as const
const STDERR_LIMIT_BYTES = 4096
/** Words of the scripts before the output, at most. */
const HEAD_LIMIT_BYTES = 128
/** Its state or exit code, how much it wrote, and where in it these bytes begin. */
const HEAD = /^(running|lost|\d{0,3}) (\d{1,15}) (\d{1,16})$/
/** What the shell of the image says where it was killed with the rest. */
const KILLED = 137

export interface Started {
  readonly commandId: string
  /** Where in the guest its output lies. */
  readonly log: string
}

export interface CommandState {
  readonly status: 'running' | 'ended' | 'lost'
  readonly exitCode: number | null
  /** All that it wrote. */
  readonly sizeBytes: number
  /** Where in it these bytes begin. */
  readonly offset: number
  readonly bytes: Buffer
}

export const directoryOf = (commandId: string): string => `/tmp/command-${commandId}`

const START = `
d=$1; shift
mkdir -p /tmp && mkdir "$d" && : > "$d/output" || exit ${REFUSED.noDirectory}
echo "$$ $(cat /proc/sys/kernel/random/boot_id)" > "$d/group"
{
  trap : TERM INT HUP
  "$@" >> "$d/output" 2>&1 < /dev/null
  echo $? > "$d/ended" && mv "$d/ended" "$d/exit_code"
} > /dev/null 2>&1 < /dev/null &
`

/** Whether its group is there: not if the machine has been started anew since, when its number may be another's. busybox has no `kill --`. */
const KNOW = `
d=$1
[ -d "$d" ] || exit ${REFUSED.unknown}
read -r group boot < "$d/group"
alive() { [ "\${group:-0}" -gt 1 ] && [ "$boot" = "$(cat /proc/sys/kernel/random/boot_id)" ] && kill -0 "-$group" 2> /dev/null; }
`

/** Its state first, then what it wrote: of what has ended, that is all. */
const READ = `${KNOW}
state=lost
if [ -f "$d/exit_code" ]; then state=$(cat "$d/exit_code")
elif alive; then state=running
elif [ -f "$d/exit_code" ]; then state=$(cat "$d/exit_code"); fi
size=$(($(wc -c < "$d/output")))
from=$2
if [ "$from" = end ]; then from=$((size - $3)); fi
if [ "$from" -lt 0 ]; then from=0; fi
echo "$state $size $from"
if [ "$size" -gt "$from" ]; then tail -c "+$((from + 1))" "$d/output" | head -c "$3"; fi
`

const SIGNAL = `${KNOW}
[ -f "$d/exit_code" ] && exit 0
alive && kill "-$2" "-$group" 2> /dev/null
if [ "$2" = KILL ] && [ ! -f "$d/exit_code" ]; then echo ${KILLED} > "$d/exit_code"; fi
exit 0
`

type Where = Pick<ExecRequest, 'env' | 'workingDir' | 'user'>
const AS_ROOT: Where = { env: {}, workingDir: null, user: null }

/** Starts it; it goes on when this returns. */
export async function startCommand(context: ToolContext, id: InstanceId, command: readonly string[], where: Where): Promise<Started> {
  const commandId = randomBytes(4).toString('hex')
  const directory = directoryOf(commandId)
  const { exitCode, stderr } = await script(context, id, START, [directory, ...command], where, 0)
  if (exitCode !== 0) throw new BerthError('guest_path', `The command did not start: ${stderr.trim() || `its shell ended with ${exitCode}`}.`)
  return { commandId, log: `${directory}/output` }
}

/** How it is, and what it wrote from `offset` on; `end` is the last `limitBytes`. */
export async function readCommand(context: ToolContext, id: InstanceId, commandId: string, offset: number | 'end', limitBytes: number): Promise<CommandState> {
  const { exitCode, stdout, stderr } = await script(context, id, READ, [directoryOf(commandId), String(offset), String(limitBytes)], AS_ROOT, limitBytes + HEAD_LIMIT_BYTES)
  if (exitCode === REFUSED.unknown) throw noCommand(commandId)
  const line = stdout.indexOf(0x0a)
  // As the guest has it, which may be anything: on a full disk the code of one that has ended is an empty file.
  const [, state = '', size = '', from = ''] = HEAD.exec(stdout.subarray(0, Math.max(0, line)).toString('latin1')) ?? []
  if (from === '') throw new BerthError('guest_path', `What is known of the command can't be read: ${stderr.trim() || (exitCode === 0 ? `${directoryOf(commandId)} holds something else` : `its shell ended with ${exitCode}`)}.`)
  const status = state === 'running' ? 'running' : state === 'lost' || state === '' ? 'lost' : 'ended'
  return { status, exitCode: status === 'ended' ? Number(state) : null, sizeBytes: Number(size), offset: Number(from), bytes: stdout.subarray(line + 1) }
}

/** Reads until it has ended or the time is over; each look is told. */
export async function awaitCommand(context: ToolContext, waitMs: number, read: () => Promise<CommandState>): Promise<CommandState> {
  const until = performance.now() + waitMs
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 1.5, LONGEST_PAUSE_MS)) {
    const state = await read()
    const leftMs = until - performance.now()
    if (state.status !== 'running' || leftMs <= 0) return state
    context.progress(Math.round(waitMs - leftMs) + 1, `${state.sizeBytes} bytes of output`)
    await pause(Math.min(pauseMs, leftMs), context.signal)
    requirePatience(context.signal)
  }
}

export async function signalCommand(context: ToolContext, id: InstanceId, commandId: string, signal: 'TERM' | 'KILL'): Promise<void> {
  const { exitCode } = await script(context, id, SIGNAL, [directoryOf(commandId), signal], AS_ROOT, 0)
  if (exitCode === REFUSED.unknown) throw noCommand(commandId)
}

function noCommand(commandId: string): BerthError {
  return new BerthError('not_found', `There is no command ${quoteGo(commandId)} in the instance: start-command tells the command_id of each.`)
}

interface Ran {
  readonly exitCode: number | null
  readonly stdout: Buffer
  readonly stderr: string
}

async function script(context: ToolContext, id: InstanceId, text: string, args: readonly string[], where: Where, limitBytes: number): Promise<Ran> {
  requirePatience(context.signal)
  const request = { command: ['/bin/sh', '-c', text, 'sh', ...args], ...where, tty: null, timeoutMs: SCRIPT_TIMEOUT_MS }
  const session = await context.engine.instances.exec(context.caller, id, request, { wake: true }).catch((error: unknown) => {
    if (!(error instanceof BerthError) || error.code !== 'command_not_found') throw error
    throw new BerthError('command_not_found', 'The image has no /bin/sh, which commands in the background need: use exec-command.', { cause: error })
  })
  const ran = await runToEnd(session, { stdin: null, limitBytes: Math.max(limitBytes, STDERR_LIMIT_BYTES), signal: context.signal })
  return { exitCode: ran.exitCode, stdout: Buffer.from(ran.stdout, ran.encoding), stderr: ran.encoding === 'utf-8' ? ran.stderr : '' }
}

/** Resolves also when the signal ends it. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return sleep(ms, undefined, { signal }).catch(() => undefined)
}
