/** Commands in the background: one call starts one, others ask how it goes, wait for its end, or end it. */
import { z } from 'zod'
import { RUN_LIMITS } from '../../engine/run-command.ts'
import { Capture, encode, encodingOf } from '../../engine/capture.ts'
import { awaitCommand, directoryOf, readCommand, signalCommand, startCommand } from '../background.ts'
import type { CommandState } from '../background.ts'
import { findInstance } from '../resolve.ts'
import { Argv, Env, GuestPath, InstanceWord, WAIT_LIMIT_MS } from '../schema.ts'
import { plain, shortened } from '../text.ts'
import { defineTool } from '../tool.ts'
import type { Tool } from '../tool.ts'

const OUTPUT_DEFAULT_BYTES = 16_384
const START_WAIT_MS = 1000
const GRACE_S = 10
const GRACE_LIMIT_S = 300
/** What the readable rendering shows; structured output has it all. */
const TEXT_LIMIT_CHARACTERS = 30_000

const CommandId = z.string().regex(/^[a-z0-9]{1,32}$/).describe('From start-command')
const MaxBytes = z.int().min(1).max(RUN_LIMITS.outputBytes.max).default(OUTPUT_DEFAULT_BYTES)

const Output = z.strictObject({
  command_id: z.string(),
  status: z.enum(['running', 'ended', 'lost']).describe('lost: it ended without a word, as when its instance was stopped'),
  exit_code: z.int().nullable(),
  output: z.string().describe('stdout and stderr as they came'),
  encoding: z.enum(['utf-8', 'base64']),
  next_offset: z.int().describe('Where what comes next will begin'),
  output_bytes: z.int().describe('All that it wrote so far'),
  log: z.string().describe('Where in the instance all of it lies'),
})

const HINTS: Readonly<Record<CommandState['status'], (log: string) => readonly string[]>> = {
  running: log => [`get-command with wait_ms waits for its end; all of its output: ${log}`],
  ended: () => [],
  lost: () => ['It is gone without an exit code: its instance was stopped, or something killed it.'],
}

/** A character that is cut in two comes whole with the next piece, unless there is none. */
function told(commandId: string, { status, exitCode, sizeBytes, offset, bytes }: CommandState, limitBytes: number) {
  const capture = new Capture(Math.min(limitBytes, bytes.length))
  capture.add(bytes)
  const isAll = status !== 'running' && offset + bytes.length >= sizeBytes
  if (!isAll) capture.add(Buffer.of(0))
  const kept = capture.bytes()
  const encoding = encodingOf(kept)
  const nextOffset = offset + kept.length
  const data: z.output<typeof Output> = {
    command_id: commandId,
    status,
    exit_code: exitCode,
    output: encode(kept, encoding),
    encoding,
    next_offset: nextOffset,
    output_bytes: Math.max(sizeBytes, nextOffset),
    log: `${directoryOf(commandId)}/output`,
  }
  const head = `command ${commandId}: ${status === 'ended' ? `ended, exit_code: ${exitCode}` : status}`
  const part = nextOffset - kept.length === 0 && nextOffset >= sizeBytes ? '' : `, bytes ${offset} to ${nextOffset} of ${data.output_bytes}`
  const shown = encoding === 'base64' ? 'not text; base64 in the structured output' : shortened(plain(data.output).trimEnd(), TEXT_LIMIT_CHARACTERS)
  const hint = HINTS[status](data.log)
  const text = [head, ...(kept.length === 0 ? [] : [`--- output${part}`, shown]), ...hint].join('\n')
  return { data, text }
}

const startCommandTool = defineTool({
  name: 'start-command',
  title: 'Start a command in the background',
  description:
    'Runs argv (no shell) in the background and answers with its command_id and what it wrote within wait_ms. ' +
    'For servers, test suites, builds: it has no time limit, and goes on when the client goes. get-command reads on and waits for its end, stop-command ends it.',
  toolset: 'exec',
  scope: 'exec',
  hints: { readOnly: false, destructive: true, idempotent: false, openWorld: true },
  isLong: true,
  input: z.strictObject({
    id: InstanceWord,
    command: Argv.describe('argv; for shell syntax write ["/bin/sh","-c","…"]'),
    env: Env.optional(),
    workdir: GuestPath.optional(),
    user: z.string().min(1).max(256).optional().describe('As in exec-command; default root'),
    wait_ms: z.int().min(0).max(WAIT_LIMIT_MS).default(START_WAIT_MS).describe('Answers sooner if it ends'),
  }),
  output: Output,
  async run({ id, command, env = {}, workdir = null, user = null, wait_ms: waitMs }, context) {
    const instance = await findInstance(context.engine, context.caller, id)
    context.note({ instance: instance.id, argv: command })
    const { commandId } = await startCommand(context, instance.id, command, { env, workingDir: workdir, user })
    const state = await awaitCommand(context, waitMs, () => readCommand(context, instance.id, commandId, 0, OUTPUT_DEFAULT_BYTES))
    return told(commandId, state, OUTPUT_DEFAULT_BYTES)
  },
})

const getCommand = defineTool({
  name: 'get-command',
  title: 'Look after a command in the background',
  description: 'Whether a command of start-command still runs, its exit code, and the end of its output, or the output from offset on. With wait_ms it waits until the command has ended.',
  toolset: 'exec',
  scope: 'exec',
  hints: { readOnly: true, destructive: false, idempotent: true, openWorld: false },
  isLong: true,
  input: z.strictObject({
    id: InstanceWord,
    command_id: CommandId,
    wait_ms: z.int().min(0).max(WAIT_LIMIT_MS).default(0).describe('For its end; answers sooner if it ends'),
    offset: z.int().min(0).optional().describe('Byte to begin at, like next_offset of the answer before'),
    max_bytes: MaxBytes,
  }),
  output: Output,
  async run({ id, command_id: commandId, wait_ms: waitMs, offset, max_bytes: maxBytes }, context) {
    const instance = await findInstance(context.engine, context.caller, id)
    context.note({ instance: instance.id })
    const state = await awaitCommand(context, waitMs, () => readCommand(context, instance.id, commandId, offset ?? 'end', maxBytes))
    return told(commandId, state, maxBytes)
  },
})

const stopCommand = defineTool({
  name: 'stop-command',
  title: 'End a command in the background',
  description: 'Ends a command of start-command with all of its processes: SIGTERM, then SIGKILL. One that has ended stays as it is.',
  toolset: 'exec',
  scope: 'exec',
  hints: { readOnly: false, destructive: true, idempotent: true, openWorld: false },
  isLong: true,
  input: z.strictObject({
    id: InstanceWord,
    command_id: CommandId,
    timeout_s: z.int().min(0).max(GRACE_LIMIT_S).default(GRACE_S).describe('Seconds between the signals'),
  }),
  output: Output,
  async run({ id, command_id: commandId, timeout_s: graceS }, context) {
    const instance = await findInstance(context.engine, context.caller, id)
    context.note({ instance: instance.id })
    const read = () => readCommand(context, instance.id, commandId, 'end', OUTPUT_DEFAULT_BYTES)
    if (graceS > 0) await signalCommand(context, instance.id, commandId, 'TERM')
    const state = await awaitCommand(context, graceS * 1000, read)
    if (state.status === 'ended') return told(commandId, state, OUTPUT_DEFAULT_BYTES)
    await signalCommand(context, instance.id, commandId, 'KILL')
    return told(commandId, await read(), OUTPUT_DEFAULT_BYTES)
  },
})

export const commandTools: readonly Tool[] = [getCommand, startCommandTool, stopCommand]
