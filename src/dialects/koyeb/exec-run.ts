/**
 * exec as one request and one answer: a command in a JSON body is run to its end, and told as one flat document.
 *
 * A command that ends with another code than 0, or is over time, is a result. Only one that did not run is an error.
 */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { RUN_LIMITS, runToEnd } from '../../engine/run-command.ts'
import type { FinishedRun } from '../../engine/run-command.ts'
import { BerthError } from '../../instance/errors.ts'
import type { InstanceId } from '../../instance/model.ts'
import { asFlag, asInteger, asObject, asText, asTexts, parseBody } from './body.ts'
import type { Json } from './body.ts'
import { fieldError } from './errors.ts'
import { DEFAULT_SIZE, resolveTarget, settleDown, TTY_ENV } from './exec.ts'
import type { ExecTarget } from './exec.ts'
import { asIdType, decodeBase64, ttySize } from './frame.ts'
import type { TtySize } from './frame.ts'
import { spellings } from './query.ts'
import type { RunReply } from './schema.ts'
import type { Surface } from './surface.ts'
import { callerOf } from './surface.ts'

/** Room for the longest stdin, and an environment beside it. */
export const RUN_BODY_LIMIT_BYTES = 4 * 1024 * 1024

interface RunRequest {
  readonly target: ExecTarget
  readonly command: readonly string[]
  readonly stdin: Buffer | null
  readonly env: Readonly<Record<string, string>>
  readonly workingDir: string | null
  readonly tty: TtySize | null
  readonly timeoutMs: number
  readonly outputBytes: number
}

export async function runOverHttp(surface: Surface, request: FastifyRequest, reply: FastifyReply): Promise<RunReply> {
  void reply.header('cache-control', 'no-store')
  const caller = callerOf(request)
  const { target, command, stdin, env, workingDir, tty, timeoutMs, outputBytes } = readRun(request)
  const left = new AbortController()
  const leave = () => left.abort()
  reply.raw.once('close', leave)
  try {
    const id = await resolveTarget(surface, caller, target)
    await settleDown(surface, caller, id)
    const wanted = { command, env: tty === null ? env : { ...TTY_ENV, ...env }, workingDir, user: null, tty, timeoutMs }
    const session = await surface.engine.instances.exec(caller, id, wanted, { wake: true })
    const signal = AbortSignal.any([left.signal, surface.options.stopping])
    return presentRun(await runToEnd(session, { stdin, limitBytes: outputBytes, signal }), id)
  } catch (error) {
    if (surface.options.stopping.aborted) throw new BerthError('shutting_down', 'The server is stopping: ask again in a moment.', { cause: error })
    throw error
  } finally {
    reply.raw.removeListener('close', leave)
  }
}

function presentRun(ran: FinishedRun, id: InstanceId): RunReply {
  return {
    stdout: ran.stdout,
    stderr: ran.stderr,
    encoding: ran.encoding,
    exit_code: ran.exitCode,
    signal: ran.signal,
    timed_out: ran.timedOut,
    truncated: ran.truncated,
    duration_ms: ran.durationMs,
    instance_id: id,
  }
}

function readRun(request: FastifyRequest): RunRequest {
  // As it came: names of variables are not keys of this API.
  const body = asObject('body', parseBody(request) ?? {})
  return {
    target: { id: asText('id', member(body, 'id')) || null, idType: asIdType(asText('id_type', member(body, 'id_type'))) },
    command: readCommand(member(body, 'command')),
    stdin: readStdin(body),
    env: readEnv(member(body, 'env')),
    workingDir: readDirectory(asText('workdir', member(body, 'workdir'))),
    tty: asFlag('tty', member(body, 'tty')) ? (readSize(member(body, 'tty_size')) ?? DEFAULT_SIZE) : null,
    timeoutMs: readBounded(body, 'timeout_ms', RUN_LIMITS.timeoutMs),
    outputBytes: readBounded(body, 'max_output_bytes', RUN_LIMITS.outputBytes),
  }
}

function readCommand(value: unknown): readonly string[] {
  const command = asTexts('command', value)
  if (command.length === 0) throw fieldError('command', 'it must hold a program and its arguments, like ["ls","-la"]')
  if (command.length > RUN_LIMITS.arguments) throw fieldError('command', `it has at most ${RUN_LIMITS.arguments} arguments`)
  for (const [index, word] of command.entries()) requireWord(`command[${index}]`, word)
  return command
}

function readStdin(body: Json): Buffer | null {
  const value = member(body, 'stdin')
  const text = asText('stdin', value)
  const encoding = asText('stdin_encoding', member(body, 'stdin_encoding')) || 'utf-8'
  if (encoding !== 'utf-8' && encoding !== 'base64') throw fieldError('stdin_encoding', 'choose from utf-8, base64')
  if (text.length > RUN_LIMITS.stdinCharacters) throw fieldError('stdin', `it has at most ${RUN_LIMITS.stdinCharacters} characters`)
  if (value === undefined) return null
  return encoding === 'base64' ? decodeBase64(text, 'stdin') : Buffer.from(text)
}

function readEnv(value: unknown): Readonly<Record<string, string>> {
  const entries = Object.entries(asObject('env', value)).map(([name, text]) => {
    if (name === '' || name.includes('=') || name.includes('\0')) throw fieldError('env', `${JSON.stringify(name.slice(0, 64))} is no name of a variable`)
    if (typeof text !== 'string') throw fieldError(`env.${name}`, 'it must be text')
    requireWord(`env.${name}`, text)
    return [name, text] as const
  })
  return Object.fromEntries(entries)
}

function readDirectory(path: string): string | null {
  if (path === '') return null
  if (!path.startsWith('/')) throw fieldError('workdir', 'it must be an absolute path')
  return path
}

function readSize(value: unknown): TtySize | null {
  const size = asObject('tty_size', value)
  return ttySize(asInteger('tty_size.height', member(size, 'height')), asInteger('tty_size.width', member(size, 'width')))
}

function readBounded(body: Json, name: string, bounds: { readonly min: number; readonly max: number; readonly default: number }): number {
  const number = asInteger(name, member(body, name)) ?? bounds.default
  if (number < bounds.min || number > bounds.max) throw fieldError(name, `from ${bounds.min} to ${bounds.max}`)
  return number
}

function requireWord(field: string, word: string): void {
  if (word.length > RUN_LIMITS.wordCharacters) throw fieldError(field, `it has at most ${RUN_LIMITS.wordCharacters} characters`)
  if (word.includes('\0')) throw fieldError(field, 'it must not hold a NUL character')
}

/** A key in either spelling; `null` is absent. */
function member(value: Json, name: string): unknown {
  return spellings(name).map(key => (Object.hasOwn(value, key) ? value[key] : undefined)).find(found => found !== undefined && found !== null)
}
