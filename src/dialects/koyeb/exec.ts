/**
 * exec: one process in a guest, spoken over a WebSocket or plain HTTP.
 *
 *   first frame with a command ─▶ which instance ─▶ wake it if it sleeps ─▶ start, once ─▶ output … ─▶ exited
 *
 * Invariants: `exited` comes exactly once and after all output (the CLI and the MCP server stop reading at it);
 * only the first command starts a process (the CLI repeats it with every key that is typed); what a process no
 * longer reads is dropped (`cp` sends more than tar reads); a client that goes away hangs up its process.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyRequest } from 'fastify'
import type { WebSocket } from 'ws'
import type { Caller } from '../../engine/api.ts'
import type { ExecExit, ExecSession } from '../../engine/host-port.ts'
import { asBerthError, BerthError } from '../../instance/errors.ts'
import type { Instance, InstanceId } from '../../instance/model.ts'
import { ANNOTATION } from '../../instance/service.ts'
import { fieldError, presentStatus } from './errors.ts'
import type { ExecFrame } from './frame.ts'
import { asIdType, exitReply, outputReply, readFrame } from './frame.ts'
import { CLOSE, FrameSocket } from './frame-socket.ts'
import { defaultIds, placeOf } from './ids.ts'
import { queryText } from './query.ts'
import type { ExecIdType, ExecReply, StreamResult } from './schema.ts'
import type { Surface } from './surface.ts'
import { asInstanceId, callerOf } from './surface.ts'

export const DEFAULT_SIZE = { rows: 24, cols: 80 } as const
/** What a program with a terminal expects to find. */
export const TTY_ENV = { TERM: 'xterm-256color', LANG: 'C.UTF-8' }
/** Largest piece of output in one frame; the original's proxy breaks at 64 KiB of JSON. */
const OUTPUT_PIECE_BYTES = 32 * 1024
/** From SIGHUP to SIGKILL when the client has gone. */
const HANG_UP_MS = 5000
/** How long an instance that falls asleep is waited for before it is woken. */
const FALL_ASLEEP_MS = 60_000
/** How long a service in deep sleep may take to make a replica. */
const AWAKEN_MS = 60_000
const AWAKEN_LOOK_MS = 50
const SIGHUP = 1
const END_OF_TRANSMISSION = Buffer.from([4])
/** As a shell has it. */
const EXIT_NOT_FOUND = 127

/** What the URL says, for clients that put it there; a frame's own words win. */
export interface ExecTarget {
  readonly id: string | null
  readonly idType: ExecIdType | null
}

export function targetOf(request: FastifyRequest): ExecTarget {
  return { id: queryText(request, 'id'), idType: asIdType(queryText(request, 'id_type')) }
}

/** Serves one WebSocket to its end. */
export async function serveExec(surface: Surface, socket: WebSocket, request: FastifyRequest): Promise<void> {
  const frames = new FrameSocket(socket)
  const { stopping } = surface.options
  const onStop = () => refuse(frames, new BerthError('shutting_down', 'The server is stopping: connect again in a moment.'), CLOSE.goingAway)
  stopping.addEventListener('abort', onStop, { signal: frames.gone })
  try {
    await converse(surface, frames, callerOf(request), targetOf(request))
    frames.close(CLOSE.normal)
  } catch (error) {
    const known = asBerthError(error)
    if (known.code === 'internal') request.log.error({ err: error }, 'an exec session met an error of Berth’s own')
    if (!frames.gone.aborted && !stopping.aborted) refuse(frames, known, known.code === 'internal' ? CLOSE.internal : CLOSE.policy)
  }
}

/** Tells an error as the last frame. Both are on their way when this returns: a server that stops closes sockets next. */
function refuse(frames: FrameSocket, error: BerthError, code: number): void {
  const last: StreamResult<ExecReply> = { error: presentStatus(error) }
  // A client that left meanwhile has nobody to be told.
  frames.sendText(last).catch(() => {})
  frames.close(code)
}

async function converse(surface: Surface, frames: FrameSocket, caller: Caller, target: ExecTarget): Promise<void> {
  // No time limit: the console connects before its user has typed the command.
  const text = await frames.nextText()
  if (text === null) return
  const first = readFrame(text)
  const send = (result: ExecReply) => frames.sendText({ result } satisfies StreamResult<ExecReply>)
  const session = await begin(surface, caller, first, target, 'terminal')
  if (session === null) return tellNotFound(first, send)
  const leave = () => hangUp(session)
  frames.gone.addEventListener('abort', leave, { once: true })
  if (frames.gone.aborted) return leave()
  let broken: { readonly error: unknown } | null = null
  pumpFrames(frames, session, first).catch((error: unknown) => {
    broken = { error }
    session.close()
  })
  // What was wrong in the input is the reason for however the process ended.
  const throwBroken = () => {
    if (broken !== null) throw (broken as { readonly error: unknown }).error
  }
  try {
    await pumpOutput(session, send)
    const exit = await session.exit
    throwBroken()
    await send(exitReply(exitCode(exit)))
  } catch (error) {
    throwBroken()
    throw error
  } finally {
    frames.gone.removeEventListener('abort', leave)
    if (!frames.gone.aborted) session.close()
  }
}

/** Starts the process of a first frame; null where the guest has no such program. */
export async function begin(
  surface: Surface,
  caller: Caller,
  first: ExecFrame,
  target: ExecTarget,
  silence: 'terminal' | 'pipes',
): Promise<ExecSession | null> {
  if (first.command === null) throw fieldError('body.command', 'the first frame must hold a command')
  const id = await resolveTarget(surface, caller, { id: first.id ?? target.id, idType: first.idType ?? target.idType })
  const tty = hasTerminal(first, silence) ? (first.size ?? DEFAULT_SIZE) : null
  const request = { command: first.command, env: tty === null ? {} : TTY_ENV, workingDir: null, user: null, tty, timeoutMs: null }
  await settleDown(surface, caller, id)
  try {
    return await surface.engine.instances.exec(caller, id, request, { wake: true })
  } catch (error) {
    if (error instanceof BerthError && error.code === 'command_not_found') return null
    throw error
  }
}

/** Over a WebSocket silence means a terminal; over plain HTTP it needs a size. */
export function hasTerminal(first: ExecFrame, silence: 'terminal' | 'pipes'): boolean {
  if (first.disableTty === true) return false
  return silence === 'terminal' || first.size !== null
}

/** A program that isn't there ends as it does in a shell. */
export async function tellNotFound(first: ExecFrame, send: (reply: ExecReply) => Promise<void>): Promise<void> {
  const text = Buffer.from(`${first.command?.[0] ?? ''}: executable file not found\r\n`)
  await send(outputReply(hasTerminal(first, 'terminal') ? 'stdout' : 'stderr', text))
  await send(exitReply(EXIT_NOT_FOUND))
}

export function exitCode(exit: ExecExit): number {
  return exit.signal === null ? exit.code : 128 + exit.signal
}

/** All output, in pieces; resolves at its end. */
export async function pumpOutput(session: ExecSession, send: (reply: ExecReply) => Promise<void>): Promise<void> {
  for await (const { stream, data } of session.output) {
    for (let at = 0; at < data.length; at += OUTPUT_PIECE_BYTES) {
      await send(outputReply(stream, data.subarray(at, at + OUTPUT_PIECE_BYTES)))
    }
  }
}

/** Feeds one frame to the process. */
export async function feed(session: ExecSession, frame: ExecFrame, isTerminal: boolean): Promise<void> {
  if (isTerminal && frame.size !== null) session.resize(frame.size.rows, frame.size.cols)
  try {
    if (frame.stdin !== null && frame.stdin.length > 0) await session.write(frame.stdin)
    if (frame.closeStdin && isTerminal) await session.write(END_OF_TRANSMISSION)
    else if (frame.closeStdin) await session.endInput()
  } catch (error) {
    // The process no longer reads: its exit code tells what happened, and the rest of the input is dropped.
    if (!(error instanceof BerthError)) throw error
  }
}

/** Ends a process whose client is gone: politely, then not. */
export function hangUp(session: ExecSession): void {
  session.signal(SIGHUP)
  const late = setTimeout(() => session.close(), HANG_UP_MS)
  late.unref()
  const over = () => {
    clearTimeout(late)
    session.close()
  }
  // Reading on keeps the process from waiting for room; nobody wants what it says.
  void (async () => {
    for await (const _ of session.output);
  })().catch(() => {})
  session.exit.then(over, over)
}

async function pumpFrames(frames: FrameSocket, session: ExecSession, first: ExecFrame): Promise<void> {
  const isTerminal = hasTerminal(first, 'terminal')
  await feed(session, first, isTerminal)
  for (let text = await frames.nextText(); text !== null; text = await frames.nextText()) await feed(session, readFrame(text), isTerminal)
}

/** The instance that is meant, itself or through its service. */
export async function resolveTarget(surface: Surface, caller: Caller, { id, idType }: ExecTarget): Promise<InstanceId> {
  if (id === null || id === '') throw fieldError('id', 'it must name an instance or, with id_type SERVICE_ID, a service')
  return idType === 'SERVICE_ID' ? replicaOf(surface, caller, id) : asInstanceId('id', id)
}

/** The service's healthy instance with the lowest index; else one that sleeps and can be woken. */
async function replicaOf(surface: Surface, caller: Caller, serviceId: string): Promise<InstanceId> {
  const isDefault = serviceId === defaultIds(caller.projectId).service
  const scope = isDefault ? { lacksAnnotation: ANNOTATION.service } : { annotations: { [ANNOTATION.service]: serviceId } }
  const living = await surface.engine.instances.list(caller, { ...scope, order: 'oldest-first' })
  if (living.every(instance => instance.desired === 'deleted') && !isDefault) return awaken(surface, caller, serviceId)
  if (living.length === 0) throw new BerthError('not_found', 'The service has no instance.')
  const byIndex = living.toSorted((a, b) => placeOf(a).index - placeOf(b).index)
  const in_ = (phases: readonly Instance['phase'][]) => byIndex.find(instance => phases.includes(instance.phase))
  const chosen = in_(['running']) ?? in_(['standby', 'suspending', 'restoring']) ?? in_(['unhealthy', 'starting', 'preparing'])
  if (chosen === undefined) throw new BerthError('invalid_state', 'No instance of the service runs.')
  return chosen.id
}

/** The first replica of a service that was in deep sleep; whoever runs a command in it waits until it can. */
async function awaken(surface: Surface, caller: Caller, serviceId: string): Promise<InstanceId> {
  if (!(await surface.engine.services.wake(caller, serviceId))) throw new BerthError('not_found', 'The service has no instance.')
  const deadline = surface.options.now() + AWAKEN_MS
  while (surface.options.now() < deadline && !surface.options.stopping.aborted) {
    const living = await surface.engine.instances.list(caller, { annotations: { [ANNOTATION.service]: serviceId }, order: 'oldest-first' })
    const first = living.find(instance => instance.desired === 'running')
    if (first !== undefined) return first.id
    await sleep(AWAKEN_LOOK_MS)
  }
  throw new BerthError('timeout', `The service did not wake within ${AWAKEN_MS / 1000} s.`)
}

/** One that is falling asleep is let, so that it can be woken. */
export async function settleDown(surface: Surface, caller: Caller, id: InstanceId): Promise<void> {
  const instance = await surface.engine.instances.get(caller, id)
  if (instance.phase !== 'suspending') return
  await surface.engine.instances.wait(caller, id, { until: ['standby', 'running', 'unhealthy'], timeoutMs: FALL_ASLEEP_MS })
}
