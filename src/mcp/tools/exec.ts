/**
 * exec-command: one call is one command, run to its end.
 *
 * A command that ends with another code than 0 is a result; only one that did not run is an error.
 */
import { z } from 'zod'
import { RUN_LIMITS, runToEnd } from '../../engine/run-command.ts'
import { BerthError } from '../../instance/errors.ts'
import { findInstance, findOfService } from '../resolve.ts'
import { Argv, Env, GuestPath } from '../schema.ts'
import { lastLine, plain, shortened } from '../text.ts'
import { defineTool, requirePatience } from '../tool.ts'

const { timeoutMs: TIMEOUT_MS, outputBytes: OUTPUT_BYTES } = RUN_LIMITS
/** What the readable rendering shows of each stream; structured output has it all. */
const TEXT_LIMIT_CHARACTERS = 30_000

const Input = z.strictObject({
  id: z.string().min(1).max(64).regex(/^[A-Za-z0-9_-]+$/).describe('Id or name of the instance (or id of a service, with id_type SERVICE_ID)'),
  id_type: z.enum(['INSTANCE_ID', 'SERVICE_ID']).default('INSTANCE_ID'),
  command: Argv.describe('argv, without a shell; for shell syntax write ["/bin/sh","-c","…"]'),
  stdin: z.string().max(RUN_LIMITS.stdinCharacters).optional(),
  stdin_encoding: z.enum(['utf-8', 'base64']).default('utf-8'),
  env: Env.optional(),
  workdir: GuestPath.optional(),
  user: z.string().min(1).max(256).optional().describe('Name, uid, name:group or uid:gid; default root'),
  tty: z.boolean().default(false).describe('Give it a terminal; stderr is then part of stdout'),
  tty_size: z.strictObject({ height: z.int().min(1).max(1000).default(24), width: z.int().min(1).max(1000).default(80) }).optional(),
  timeout_ms: z.int().min(TIMEOUT_MS.min).max(TIMEOUT_MS.max).default(TIMEOUT_MS.default).describe('Then it is killed'),
  max_output_bytes: z.int().min(OUTPUT_BYTES.min).max(OUTPUT_BYTES.max).default(OUTPUT_BYTES.default).describe('Of each stream'),
})
type Input = z.output<typeof Input>

const Output = z.strictObject({
  stdout: z.string(),
  stderr: z.string(),
  encoding: z.enum(['utf-8', 'base64']).describe('Of both streams; base64 if either is not text'),
  exit_code: z.int().nullable().describe('128 + n after signal n; null if the time was over'),
  signal: z.string().nullable(),
  timed_out: z.boolean(),
  truncated: z.strictObject({ stdout: z.boolean(), stderr: z.boolean() }),
  output_bytes: z.strictObject({ stdout: z.int(), stderr: z.int() }).describe('All that it wrote'),
  duration_ms: z.int(),
  instance_id: z.string(),
})

export const execCommand = defineTool({
  name: 'exec-command',
  title: 'Run a command in an instance',
  description:
    'Runs argv (no shell) in an instance and returns stdout, stderr and exit code. A non-zero exit code is a normal result. ' +
    'An instance that sleeps is woken. The command is killed at timeout_ms: start-command is for servers and long work.',
  toolset: 'exec',
  scope: 'exec',
  hints: { readOnly: false, destructive: true, idempotent: false, openWorld: true },
  isLong: true,
  input: Input,
  respell,
  output: Output,
  async run(args, context) {
    const { engine, caller } = context
    const stdin = stdinOf(args)
    const found = await (args.id_type === 'SERVICE_ID' ? findOfService(engine, caller, args.id) : findInstance(engine, caller, args.id))
    context.note({ instance: found.id, argv: args.command })
    requirePatience(context.signal)
    const session = await engine.instances
      .exec(
        caller,
        found.id,
        {
          command: args.command,
          env: args.env ?? {},
          workingDir: args.workdir ?? null,
          user: args.user ?? null,
          tty: args.tty ? { rows: args.tty_size?.height ?? 24, cols: args.tty_size?.width ?? 80 } : null,
          timeoutMs: args.timeout_ms,
        },
        { wake: true },
      )
      .catch((error: unknown) => {
        throw withHint(error, args.command)
      })
    const ran = await runToEnd(session, {
      stdin,
      limitBytes: args.max_output_bytes,
      signal: context.signal,
      onOutput: ({ data }, totalBytes) => context.progress(totalBytes, lastLine(data)),
    })
    context.note({ exitCode: ran.exitCode })
    const data: z.output<typeof Output> = {
      stdout: ran.stdout,
      stderr: ran.stderr,
      encoding: ran.encoding,
      exit_code: ran.exitCode,
      signal: ran.signal,
      timed_out: ran.timedOut,
      truncated: ran.truncated,
      output_bytes: ran.outputBytes,
      duration_ms: ran.durationMs,
      instance_id: found.id,
    }
    return { data, text: rendered(data, args.timeout_ms) }
  },
})

/** A line of a shell that was given as one word is the usual slip. */
export function withHint(error: unknown, [program = '']: readonly string[]): unknown {
  if (!(error instanceof BerthError) || error.code !== 'command_not_found' || !/\s/.test(program)) return error
  return new BerthError(error.code, `${error.message}: one word of command is one argument, so write ["ls","-la"], or ["/bin/sh","-c","ls -la | wc -l"] for a shell.`, { cause: error, details: error.details })
}

function stdinOf({ stdin, stdin_encoding: encoding }: Input): Buffer | null {
  if (stdin === undefined) return null
  if (encoding === 'base64' && !/^[A-Za-z0-9+/]*={0,2}$/.test(stdin.replaceAll(/\s/g, ''))) {
    throw new BerthError('invalid_request', 'stdin is not base64, which stdin_encoding says it is.')
  }
  return Buffer.from(stdin, encoding)
}

function rendered(data: z.output<typeof Output>, timeoutMs: number): string {
  const head = data.timed_out ? `timed out after ${timeoutMs} ms and was killed; start-command runs what takes longer` : `exit_code: ${data.exit_code}${data.signal === null ? '' : ` (${data.signal})`}`
  const part = (name: 'stdout' | 'stderr'): readonly string[] => {
    const total = data.output_bytes[name]
    if (total === 0) return []
    if (data.encoding === 'base64') return [`--- ${name}: ${total} bytes, not text; base64 in the structured output`]
    const note = data.truncated[name] ? `, cut: ${total} bytes in all` : ''
    return [`--- ${name}${note}`, shortened(plain(data[name]).trimEnd(), TEXT_LIMIT_CHARACTERS)]
  }
  return [head, ...part('stdout'), ...part('stderr')].join('\n')
}

/** The names that Koyeb's wire gives these arguments are understood as well. */
function respell(args: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const entries = Object.entries(args)
  if (!entries.some(([key]) => key.startsWith('body.'))) return args
  const rest = Object.fromEntries(entries.filter(([key]) => !KOYEB_NAMES.has(key)))
  const given = (key: string) => args[key]
  const size = { height: given('body.tty_size.height'), width: given('body.tty_size.width') }
  return {
    ...(given('body.id') === undefined ? {} : { id: given('body.id') }),
    ...(given('body.id_type') === undefined ? {} : { id_type: given('body.id_type') }),
    ...(given('body.command') === undefined ? {} : { command: given('body.command') }),
    ...(given('body.stdin.data') === undefined ? {} : { stdin: given('body.stdin.data'), stdin_encoding: 'base64' }),
    ...(typeof given('body.disableTty') === 'boolean' ? { tty: given('body.disableTty') === false } : {}),
    ...(size.height === undefined && size.width === undefined ? {} : { tty_size: withoutUndefined(size) }),
    ...rest,
  }
}

const KOYEB_NAMES = new Set([
  'body.id',
  'body.id_type',
  'body.command',
  'body.stdin.data',
  'body.stdin.close',
  'body.disableTty',
  'body.tty_size.height',
  'body.tty_size.width',
])

function withoutUndefined(value: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined))
}
