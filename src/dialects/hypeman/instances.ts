/**
 * Instances: create, list, get, update, delete, and the four moves between states.
 *
 * Hypeman's calls answer when the work is done. Here the wish is recorded first and the wait is apart from it:
 * a client that goes away, or a wait that is over, interrupts nothing. The states from which upstream refuses
 * a move are refused here in its words; all other refusals are the engine's.
 */
import { createHash } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Caller, CreateInstance, WaitResult } from '../../engine/api.ts'
import { parseDuration } from '../../instance/duration.ts'
import { asBerthError, BerthError, ERROR_CODES } from '../../instance/errors.ts'
import type { ErrorCode } from '../../instance/errors.ts'
import { parseVolumeId } from '../../instance/ids.ts'
import type { Instance, InstanceEvent } from '../../instance/model.ts'
import type { Phase } from '../../instance/phase.ts'
import { phaseDurationsMs } from '../../instance/timeline.ts'
import { acceptAttach, acceptCreate, acceptUpdate } from './accept.ts'
import { optionalBody, readerOf, requiredBody } from './body.ts'
import { reworded, wireError } from './errors.ts'
import {
  phasesOfState,
  presentInstance,
  presentPathInfo,
  presentState,
  presentStats,
} from './present.ts'
import { queryBoolean, queryChoice, queryTags, queryText } from './query.ts'
import * as wire from './schema.ts'
import type { Surface } from './surface.ts'
import { callerOf, instanceOf, pathParameter, untilGone } from './surface.ts'

/** How long a call waits for its work; after that it answers with the state as it is. */
const OPERATION_WAIT_MS = 300_000
const WAIT_DEFAULT_MS = 60_000
const WAIT_LIMIT_MS = 300_000
/** Events of one timeline that are read for `phase_durations_ms`. */
const TIMELINE_LIMIT = 1000
const IDEMPOTENCY_KEY_LIMIT = 255
/** An SDK sends create again after a lost connection; this long, the same body by the same name is that retry. */
const RETRY_WINDOW_MS = 600_000
/** What ends the wait of a create. */
const CREATE_ENDS: readonly Phase[] = ['running', 'unhealthy', 'stopped', 'standby', 'failed', 'preempted', 'deleted']
export const REQUEST_HASH = 'hypeman.request'

const readCreate = readerOf(wire.CreateInstanceRequest)
const readUpdate = readerOf(wire.UpdateInstanceRequest)
const readStart = readerOf(wire.StartInstanceRequest)
const readAttach = readerOf(wire.AttachVolumeRequest)

export async function listInstances(surface: Surface, request: FastifyRequest): Promise<readonly wire.Instance[]> {
  const caller = callerOf(request)
  const state = queryChoice(request, 'state', wire.INSTANCE_STATES)
  const tags = queryTags(request)
  const phases = state === null ? null : phasesOfState(state)
  // A state that no phase shows as (Initializing) has no instances.
  if (phases?.length === 0) return []
  const instances = await surface.engine.instances.list(caller, {
    ...(phases === null ? {} : { phases }),
    ...(Object.keys(tags).length === 0 ? {} : { tags }),
  })
  const platform = await surface.platform(caller)
  return instances.map(instance => presentInstance(instance, { platform }))
}

export async function createInstance(surface: Surface, request: FastifyRequest, reply: FastifyReply): Promise<wire.Instance> {
  const caller = callerOf(request)
  const body = requiredBody(request, readCreate)
  const nowMs = surface.options.now()
  const accepted = acceptCreate(body, { nowMs, platform: await surface.platform(caller) })
  const requestHash = createHash('sha256').update(JSON.stringify(body)).digest('hex')
  const wish: CreateInstance = { ...accepted, annotations: { [REQUEST_HASH]: requestHash } }
  const idempotencyKey = idempotencyKeyOf(request)
  const recorded = await surface.engine.instances
    .create(caller, wish, idempotencyKey === null ? {} : { idempotencyKey })
    .catch((error: unknown) => earlierAttempt(surface, request, caller, body.name, requestHash, error))
  const { instance: created, failure } = await settle(surface, reply, caller, recorded, CREATE_ENDS)
  if (created.phase === 'deleted') throw new BerthError('cancelled', 'the instance was deleted while it was being created')
  // An application that ran and ended is no failure of create; one that never ran leaves nothing behind.
  if (created.phase === 'failed' && created.exit === null && created.startedAt === null) {
    await rollBack(surface, request, caller, created)
    throw failureOf(created, failure)
  }
  reply.code(201)
  return present(surface, caller, created)
}

export async function getInstance(surface: Surface, request: FastifyRequest): Promise<wire.Instance> {
  const caller = callerOf(request)
  return present(surface, caller, await instanceOf(surface, request))
}

export async function updateInstance(surface: Surface, request: FastifyRequest): Promise<wire.Instance> {
  const caller = callerOf(request)
  const body = requiredBody(request, readUpdate)
  const instance = await instanceOf(surface, request)
  const change = acceptUpdate(body, instance.spec, surface.options.now())
  const updated = Object.keys(change).length === 0 ? instance : await surface.engine.instances.update(caller, instance.id, change)
  return present(surface, caller, updated)
}

export async function deleteInstance(surface: Surface, request: FastifyRequest, reply: FastifyReply): Promise<null> {
  const caller = callerOf(request)
  const graceful = queryBoolean(request, 'graceful_shutdown', false)
  const instance = await instanceOf(surface, request)
  const deleting = await surface.engine.instances.delete(caller, instance.id, { graceful })
  const { instance: deleted, failure } = await settle(surface, reply, caller, deleting, ['deleted', 'failed'])
  if (failure !== null || deleted.phase === 'failed') throw failureOf(deleted, failure)
  reply.code(204)
  return null
}

export async function standbyInstance(surface: Surface, request: FastifyRequest, reply: FastifyReply): Promise<wire.Instance> {
  const caller = callerOf(request)
  const instance = await instanceOf(surface, request)
  return move(surface, reply, caller, instance, 'standby', () => surface.engine.instances.standby(caller, instance.id))
}

export async function restoreInstance(surface: Surface, request: FastifyRequest, reply: FastifyReply): Promise<wire.Instance> {
  const caller = callerOf(request)
  const instance = await instanceOf(surface, request)
  return move(surface, reply, caller, instance, 'restore', () => surface.engine.instances.restore(caller, instance.id))
}

export async function startInstance(surface: Surface, request: FastifyRequest, reply: FastifyReply): Promise<wire.Instance> {
  const caller = callerOf(request)
  const instance = await instanceOf(surface, request)
  const override = optionalBody(request, readStart) ?? {}
  const wish = {
    ...(override.entrypoint === undefined ? {} : { entrypoint: override.entrypoint }),
    ...(override.cmd === undefined ? {} : { cmd: override.cmd }),
  }
  return move(surface, reply, caller, instance, 'start', () => surface.engine.instances.start(caller, instance.id, wish))
}

export async function stopInstance(surface: Surface, request: FastifyRequest, reply: FastifyReply): Promise<wire.Instance> {
  const caller = callerOf(request)
  const instance = await instanceOf(surface, request)
  return move(surface, reply, caller, instance, 'stop', () => surface.engine.instances.stop(caller, instance.id))
}

export async function waitInstance(surface: Surface, request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
  const caller = callerOf(request)
  const text = queryText(request, 'state')
  const state = wire.INSTANCE_STATES.find(candidate => candidate === text)
  if (state === undefined) {
    throw wireError('invalid_request', 'invalid_state', `state must be one of ${wire.INSTANCE_STATES.join(', ')}, got ${JSON.stringify(text ?? '')}`)
  }
  const timeoutMs = waitTimeoutMs(queryText(request, 'timeout'))
  const instance = await instanceOf(surface, request)
  const wanted = phasesOfState(state)
  const result = await surface.engine.instances.wait(caller, instance.id, {
    until: [...wanted, 'stopped', 'standby', 'preempted', 'failed', 'lost', 'deleted'],
    timeoutMs: Math.min(timeoutMs, WAIT_LIMIT_MS),
    signal: untilGone(reply, surface),
  })
  if (result.instance.phase === 'deleted') throw new BerthError('not_found', 'instance was deleted while waiting')
  return {
    state: presentState(result.instance.phase),
    timed_out: result.timedOut,
    state_error: result.instance.phase === 'lost' || result.instance.phase === 'failed' ? result.instance.reason : null,
  }
}

export async function statPath(surface: Surface, request: FastifyRequest): Promise<wire.PathInfo> {
  const caller = callerOf(request)
  const path = queryText(request, 'path')
  const followLinks = queryBoolean(request, 'follow_links', false)
  if (path === null || path === '') throw wireError('invalid_request', 'Bad Request', 'parameter "path" in query has an error: value is required but missing')
  const instance = await servingInstance(surface, request)
  return presentPathInfo(await surface.engine.instances.stat(caller, instance.id, path, { followLinks }))
}

export async function instanceStats(surface: Surface, request: FastifyRequest): Promise<wire.InstanceStats> {
  const caller = callerOf(request)
  const instance = await servingInstance(surface, request)
  return presentStats(instance, await surface.engine.instances.stats(caller, instance.id))
}

export async function attachVolume(surface: Surface, request: FastifyRequest): Promise<wire.Instance> {
  const caller = callerOf(request)
  const body = requiredBody(request, readAttach)
  const instance = await instanceOf(surface, request)
  const mount = acceptAttach(pathParameter(request, 'volumeId'), body)
  return present(surface, caller, await surface.engine.instances.attachVolume(caller, instance.id, mount))
}

export async function detachVolume(surface: Surface, request: FastifyRequest): Promise<wire.Instance> {
  const caller = callerOf(request)
  const instance = await instanceOf(surface, request)
  const volumeId = parseVolumeId(pathParameter(request, 'volumeId'))
  return present(surface, caller, await surface.engine.instances.detachVolume(caller, instance.id, volumeId))
}

/** The instance of a route that works inside of the guest; 409 in the words that clients print. */
export async function servingInstance(surface: Surface, request: FastifyRequest): Promise<Instance> {
  const instance = await instanceOf(surface, request)
  const state = presentState(instance.phase)
  if (state === 'Running') return instance
  throw new BerthError('invalid_state', `instance must be running (current state: ${state})`)
}

// --- moves ----------------------------------------------------------------------------------------------------

interface Move {
  /** States from which it is refused in upstream's words. */
  readonly refusedFrom: readonly wire.InstanceState[]
  readonly hint: string
  readonly until: readonly Phase[]
  /** The phases that mean that it worked. */
  readonly reached: readonly Phase[]
}

/** What settles a move besides its aim. */
const MOVE_ENDS: readonly Phase[] = ['failed', 'deleted', 'lost']

const MOVES = {
  standby: {
    refusedFrom: ['Created', 'Initializing', 'Paused', 'Shutdown', 'Stopped', 'Standby', 'Unknown'],
    hint: '',
    until: ['standby', 'stopped', ...MOVE_ENDS],
    reached: ['standby'],
  },
  restore: {
    refusedFrom: ['Created', 'Initializing', 'Running', 'Paused', 'Shutdown', 'Stopped', 'Unknown'],
    hint: '',
    until: ['running', 'unhealthy', 'stopped', ...MOVE_ENDS],
    reached: ['running', 'unhealthy', 'stopped'],
  },
  start: {
    refusedFrom: ['Created', 'Initializing', 'Running', 'Paused', 'Shutdown', 'Standby', 'Unknown'],
    hint: ', must be Stopped',
    until: ['running', 'unhealthy', 'stopped', ...MOVE_ENDS],
    reached: ['running', 'unhealthy', 'stopped'],
  },
  // More liberal than upstream: an instance that is still starting can be stopped.
  stop: {
    refusedFrom: ['Paused', 'Shutdown', 'Stopped', 'Standby', 'Unknown'],
    hint: ', must be Running',
    until: ['stopped', 'preempted', ...MOVE_ENDS],
    reached: ['stopped', 'preempted'],
  },
} as const satisfies Record<string, Move>

async function move(
  surface: Surface,
  reply: FastifyReply,
  caller: Caller,
  instance: Instance,
  name: keyof typeof MOVES,
  ask: () => Promise<Instance>,
): Promise<wire.Instance> {
  const rule: Move = MOVES[name]
  const refusal = (from: wire.InstanceState) => `invalid state transition: cannot ${name} from state ${from}${rule.hint}`
  const state = presentState(instance.phase)
  if (rule.refusedFrom.includes(state)) throw new BerthError('invalid_state', refusal(state))
  const recorded = await ask().catch(async (error: unknown) => {
    const known = asBerthError(error)
    if (known.code !== 'invalid_state') throw known
    // Somebody else was faster: tell the state that refused.
    const now = presentState((await surface.engine.instances.get(caller, instance.id)).phase)
    throw rule.refusedFrom.includes(now) ? reworded(known, refusal(now)) : known
  })
  const { instance: moved, failure, timedOut } = await settle(surface, reply, caller, recorded, rule.until)
  if (moved.phase === 'deleted') throw new BerthError('cancelled', `the instance was deleted during ${name}`)
  const ran = moved.exit !== null && moved.phase !== 'lost'
  if (failure !== null && !ran) throw failureOf(moved, failure)
  if (!timedOut && !rule.reached.includes(moved.phase) && !ran) throw failureOf(moved, null)
  return present(surface, caller, moved)
}

/** Waits for what `recorded` asked for: until a phase of `until`, its failure, the limit, or nobody waits any more. */
export async function settle(
  surface: Surface,
  reply: FastifyReply,
  caller: Caller,
  recorded: Instance,
  until: readonly Phase[],
): Promise<WaitResult> {
  const signal = untilGone(reply, surface)
  const result = await surface.engine.instances.wait(caller, recorded.id, { until, timeoutMs: OPERATION_WAIT_MS, signal, since: recorded })
  if (result.timedOut && surface.options.stopping.aborted) {
    throw new BerthError('shutting_down', 'the server stops; the operation goes on when it is back')
  }
  return result
}

/** Upstream's create leaves nothing behind when it fails; the name is free for the next attempt. */
export async function rollBack(surface: Surface, request: FastifyRequest, caller: Caller, instance: Instance): Promise<void> {
  await surface.engine.instances.delete(caller, instance.id).catch((error: unknown) => {
    // The failure that is about to be told matters more; the instance stays visible and can be deleted.
    request.log.warn({ err: error, instance: instance.id }, 'an instance that failed to start could not be removed')
  })
}

/** The error behind a move that did not do what was asked. */
export function failureOf(instance: Instance, failure: WaitResult['failure']): BerthError {
  if (failure !== null) return new BerthError(failure.code, failure.message)
  const code = instance.errorCode !== null && Object.hasOwn(ERROR_CODES, instance.errorCode) ? (instance.errorCode as ErrorCode) : 'internal'
  return new BerthError(code, instance.reason ?? `the instance is ${presentState(instance.phase)} and nobody said why`)
}

/** The SDKs repeat a create whose answer was lost. The one that was made then is the answer now. */
export async function earlierAttempt(
  surface: Surface,
  request: FastifyRequest,
  caller: Caller,
  name: string,
  requestHash: string,
  error: unknown,
): Promise<Instance> {
  const known = asBerthError(error)
  const isRetry = Number(request.headers['x-stainless-retry-count'] ?? 0) > 0
  if (known.code !== 'name_conflict' || !isRetry) throw known
  const [existing] = await surface.engine.instances.list(caller, { name, limit: 1 })
  const isSame = existing?.annotations[REQUEST_HASH] === requestHash
  if (existing === undefined || !isSame || surface.options.now() - existing.createdAt > RETRY_WINDOW_MS) throw known
  return existing
}

function waitTimeoutMs(text: string | null): number {
  if (text === null || text === '') return WAIT_DEFAULT_MS
  let timeoutMs: number
  try {
    timeoutMs = parseDuration(text)
  } catch (error) {
    throw wireError('invalid_request', 'invalid_timeout', `invalid timeout: ${asBerthError(error).message}`, { cause: error })
  }
  if (timeoutMs <= 0) throw wireError('invalid_request', 'invalid_timeout', 'invalid timeout: it must be positive')
  return timeoutMs
}

function idempotencyKeyOf(request: FastifyRequest): string | null {
  const header = request.headers['idempotency-key']
  const key = Array.isArray(header) ? header[0] : header
  if (key === undefined || key === '') return null
  if (key.length > IDEMPOTENCY_KEY_LIMIT) {
    throw new BerthError('invalid_request', `the Idempotency-Key header is longer than ${IDEMPOTENCY_KEY_LIMIT} characters`)
  }
  return key
}

export async function present(surface: Surface, caller: Caller, instance: Instance): Promise<wire.Instance> {
  const [platform, events] = await Promise.all([
    surface.platform(caller),
    surface.engine.events.list(caller, { instanceIds: [instance.id], kinds: ['phase'], order: 'oldest-first', limit: TIMELINE_LIMIT }),
  ])
  return presentInstance(instance, { platform, phaseDurationsMs: roundedDurations(events, surface.options.now()) })
}

function roundedDurations(events: readonly InstanceEvent[], nowMs: number): Readonly<Record<string, number>> {
  return Object.fromEntries(Object.entries(phaseDurationsMs(events, nowMs)).map(([phase, ms]) => [phase, Math.round(ms)]))
}
