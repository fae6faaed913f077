/**
 * Snapshots and forks. Here a name that is taken is a 409 (at create it is a 400), and what can't be done at all
 * a 501, as upstream has both.
 */
import { createHash } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Caller } from '../../engine/api.ts'
import { asBerthError, BerthError } from '../../instance/errors.ts'
import { parseId } from '../../instance/ids.ts'
import type { Instance, SnapshotId } from '../../instance/model.ts'
import type { Phase } from '../../instance/phase.ts'
import type { ForkTarget, Snapshot, SnapshotKind } from '../../instance/snapshot.ts'
import { acceptTags } from './accept.ts'
import { optionalBody, readerOf, requiredBody } from './body.ts'
import { resourceNotFound, reworded, wireError } from './errors.ts'
import { earlierAttempt, failureOf, present, REQUEST_HASH, rollBack, settle } from './instances.ts'
import { presentSnapshot, presentState } from './present.ts'
import { queryChoice, queryTags, queryText } from './query.ts'
import * as wire from './schema.ts'
import type { Surface } from './surface.ts'
import { callerOf, instanceOf, pathParameter } from './surface.ts'

const readCreate = readerOf(wire.CreateSnapshotRequest)
const readRestore = readerOf(wire.RestoreSnapshotRequest)
const readFork = readerOf(wire.ForkInstanceRequest)
const readForkSnapshot = readerOf(wire.ForkSnapshotRequest)

const KINDS = { Standby: 'standby', Stopped: 'stopped' } as const satisfies Record<wire.SnapshotKind, SnapshotKind>
const TARGETS = { Running: 'running', Standby: 'standby', Stopped: 'stopped' } as const satisfies Record<wire.ForkTarget, ForkTarget>
const REACHED: Readonly<Record<ForkTarget, readonly Phase[]>> = { running: ['running', 'unhealthy'], standby: ['standby'], stopped: ['stopped'] }

export async function createSnapshot(surface: Surface, request: FastifyRequest, reply: FastifyReply): Promise<wire.Snapshot> {
  const caller = callerOf(request)
  const body = requiredBody(request, readCreate)
  const instance = await instanceOf(surface, request)
  const wish = { kind: KINDS[body.kind], tags: acceptTags(body.tags), ...(body.name === undefined || body.name === '' ? {} : { name: body.name }) }
  const taken = await surface.engine.snapshots.create(caller, instance.id, wish).catch((error: unknown) => {
    throw inWords(error, `invalid state transition: cannot create ${body.kind} snapshot from state ${presentState(instance.phase)}`)
  })
  reply.code(201)
  return presentSnapshot(taken)
}

export async function listSnapshots(surface: Surface, request: FastifyRequest): Promise<readonly wire.Snapshot[]> {
  const kind = queryChoice(request, 'kind', wire.SNAPSHOT_KINDS)
  const name = queryText(request, 'name')
  const source = queryText(request, 'source_instance_id')
  const sourceId = source === null || source === '' ? null : parseId('instance', 'hypeman', source)
  // Nothing was ever copied of what is no instance.
  if (source !== null && source !== '' && sourceId === null) return []
  const found = await surface.engine.snapshots.list(callerOf(request), {
    tags: queryTags(request),
    ...(kind === null ? {} : { kind: KINDS[kind] }),
    ...(name === null || name === '' ? {} : { name }),
    ...(sourceId === null ? {} : { sourceId }),
  })
  return found.filter(({ status }) => status === 'ready').map(presentSnapshot)
}

export async function getSnapshot(surface: Surface, request: FastifyRequest): Promise<wire.Snapshot> {
  return presentSnapshot(await snapshotOf(surface, request))
}

export async function deleteSnapshot(surface: Surface, request: FastifyRequest, reply: FastifyReply): Promise<null> {
  const { id } = await snapshotOf(surface, request)
  await surface.engine.snapshots.delete(callerOf(request), id)
  reply.code(204)
  return null
}

export async function restoreSnapshot(surface: Surface, request: FastifyRequest, reply: FastifyReply): Promise<wire.Instance> {
  const caller = callerOf(request)
  const body = optionalBody(request, readRestore) ?? {}
  const instance = await instanceOf(surface, request)
  const snapshot = await snapshotOf(surface, request)
  checkHypervisor(snapshot, body.target_hypervisor)
  const target = body.target_state === undefined ? {} : { target: TARGETS[body.target_state] }
  const recorded = await surface.engine.snapshots.restore(caller, instance.id, snapshot.id, target).catch((error: unknown) => {
    throw inWords(error, `invalid state transition: cannot restore snapshot from state ${presentState(instance.phase)}`)
  })
  const { instance: restored, failure, timedOut } = await settle(surface, reply, caller, recorded, ends(recorded))
  if (restored.phase === 'deleted') throw new BerthError('cancelled', 'the instance was deleted during restore')
  if (failure !== null || (!timedOut && !isThere(restored, recorded))) throw failureOf(restored, failure)
  return present(surface, caller, restored)
}

export async function forkInstance(surface: Surface, request: FastifyRequest, reply: FastifyReply): Promise<wire.Instance> {
  const caller = callerOf(request)
  const body = requiredBody(request, readFork)
  const source = await instanceOf(surface, request)
  const fromRunning = body.from_running === true
  const wish = { ...wishOf(body), fromRunning }
  const isRefused = presentState(source.phase) === 'Running' && !fromRunning
  const hint = isRefused ? 'instance is running; set from_running=true to fork it' : `invalid state transition: cannot fork from state ${presentState(source.phase)}`
  const ask = surface.engine.snapshots.forkInstance(caller, source.id, wish)
  return fork(surface, request, reply, caller, body, wish.annotations[REQUEST_HASH], ask, hint)
}

export async function forkSnapshot(surface: Surface, request: FastifyRequest, reply: FastifyReply): Promise<wire.Instance> {
  const caller = callerOf(request)
  const body = requiredBody(request, readForkSnapshot)
  const snapshot = await snapshotOf(surface, request)
  checkHypervisor(snapshot, body.target_hypervisor)
  const wish = wishOf(body)
  const ask = surface.engine.snapshots.forkSnapshot(caller, snapshot.id, wish)
  return fork(surface, request, reply, caller, body, wish.annotations[REQUEST_HASH], ask, null)
}

/** Waits for a fork; one that could not be made leaves nothing. */
async function fork(
  surface: Surface,
  request: FastifyRequest,
  reply: FastifyReply,
  caller: Caller,
  body: { readonly name: string },
  requestHash: string,
  ask: Promise<Instance>,
  hint: string | null,
): Promise<wire.Instance> {
  const recorded = await ask
    .catch((error: unknown) => earlierAttempt(surface, request, caller, body.name, requestHash, error))
    .catch((error: unknown) => {
      throw inWords(error, hint)
    })
  const { instance: made, failure, timedOut } = await settle(surface, reply, caller, recorded, ends(recorded))
  if (made.phase === 'deleted') throw new BerthError('cancelled', 'the instance was deleted while it was being forked')
  const ran = made.exit !== null || made.startedAt !== null
  if (!ran && (failure !== null || (!timedOut && !isThere(made, recorded)))) {
    await rollBack(surface, request, caller, made)
    throw failureOf(made, failure)
  }
  reply.code(201)
  return present(surface, caller, made)
}

interface ForkWish {
  readonly name: string
  readonly target?: ForkTarget
  readonly annotations: { readonly [REQUEST_HASH]: string }
}

function wishOf(body: { readonly name: string; readonly target_state?: wire.ForkTarget }): ForkWish {
  const hash = createHash('sha256').update(JSON.stringify(body)).digest('hex')
  return { name: body.name, annotations: { [REQUEST_HASH]: hash }, ...(body.target_state === undefined ? {} : { target: TARGETS[body.target_state] }) }
}

/** What ends the wait: what was asked for, or what it can't come to any more. */
function ends({ desired }: Instance): readonly Phase[] {
  return [...(desired === 'deleted' ? [] : REACHED[desired]), 'failed', 'deleted', 'lost']
}

function isThere(now: Instance, { desired }: Instance): boolean {
  return desired !== 'deleted' && REACHED[desired].includes(now.phase)
}

/** A memory goes on only in what it was taken from. */
function checkHypervisor(snapshot: Snapshot, wanted: string | undefined): void {
  if (wanted === undefined || wanted === 'qemu' || snapshot.kind === 'stopped') return
  throw wireError('not_supported', 'not_supported', `a Standby snapshot goes on with its original hypervisor, qemu; leave target_hypervisor out`, { status: 501 })
}

function inWords(error: unknown, refusal: string | null): BerthError {
  const known = asBerthError(error)
  switch (known.code) {
    case 'name_conflict':
      return wireError('name_conflict', 'name_conflict', known.message, { status: 409, cause: known })
    case 'not_supported':
      return wireError('not_supported', 'not_supported', known.message, { status: 501, cause: known })
    case 'invalid_state':
      // The engine names the phase where that is what refuses; its other reasons are told as they are.
      return refusal !== null && known.details['phase'] !== undefined ? reworded(known, refusal) : known
    default:
      return known
  }
}

async function snapshotOf(surface: Surface, request: FastifyRequest): Promise<Snapshot> {
  const id: SnapshotId | null = parseId('snapshot', 'hypeman', pathParameter(request, 'snapshotId'))
  if (id === null) throw resourceNotFound()
  try {
    return await surface.engine.snapshots.get(callerOf(request), id)
  } catch (error) {
    const known = asBerthError(error)
    throw known.code === 'not_found' ? resourceNotFound() : known
  }
}
