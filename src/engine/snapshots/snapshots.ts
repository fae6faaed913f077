/**
 * Snapshots and forks as clients ask for them.
 *
 *   create   lane of the source: `creating` recorded ─▶ host copies ─▶ `ready`
 *   fork     lane of the source: a transient snapshot and the new instance recorded ─▶ host copies
 *            lane of the fork:   preparing ─apply▶ restoring ─▶ running, or standby, or stopped
 *   restore  the instance ─▶ restoring, ─apply▶ what was asked for
 *
 * A fork has the specification of its source but for what only one can have: name, address, host name, published
 * ports; its lifetime and what dialects know of the source are not copied.
 */
import { BerthError } from '../../instance/errors.ts'
import { ID_BYTES, newId } from '../../instance/ids.ts'
import type { Instance, InstanceSpec, SnapshotId } from '../../instance/model.ts'
import { checkInstanceName, checkTags } from '../../instance/names.ts'
import type { ForkTarget, Snapshot, SnapshotKind } from '../../instance/snapshot.ts'
import { checkSharing } from '../../instance/volume-rules.ts'
import { ownInstance, ownVolume, requireScope } from '../access.ts'
import { checkDisk, placeAgain, placeNew, type Candidate } from '../admission.ts'
import type { Caller } from '../api.ts'
import { instanceTarget } from '../audit.ts'
import type { Core } from '../core.ts'
import { checkFileSystems } from '../file-systems.ts'
import { checkFirewallRulesets } from '../firewalls.ts'
import { checkRoomInProject, refused } from '../instances.ts'
import type { Change } from '../journal.ts'
import { observe } from '../operations.ts'
import type { Reconciler } from '../reconcile.ts'
import type { StoreReader } from '../store-port.ts'
import type { CreateSnapshot, ForkInstance, Snapshots } from './api.ts'
import { removeSnapshot } from './removal.ts'
import { insisting, take } from './taking.ts'

export function makeSnapshots(core: Core, loop: Reconciler): Snapshots {
  const reader = core.store.read
  return {
    async create(caller, instanceId, request) {
      requireScope(caller, 'write')
      checkWishes(request)
      await ownInstance(reader, caller, instanceId)
      return loop.run(instanceId, async () => {
        const before = await ownInstance(reader, caller, instanceId)
        const { facts } = await hostOf(core, before)
        await refuseEmpty(core, before)
        const id = newId('snapshot', core.randomBytes(ID_BYTES))
        const draft = await recorded(core, id, () => core.store.transaction(async tx => {
          const source = await ownInstance(tx, caller, instanceId)
          const kind = kindOf(source, request.kind)
          refuseWritable(source.spec, kind)
          const own = await tx.snapshots({ projectId: caller.projectId })
          const { maxSnapshotsPerProject } = core.config.limits
          if (own.length >= maxSnapshotsPerProject) throw new BerthError('limit_exceeded', `The project has ${maxSnapshotsPerProject} snapshots already: delete some.`)
          await checkDisk(tx, facts, 0, core.config)
          const made = draftOf(core, source, kind, { id, name: request.name ?? null, tags: request.tags ?? {}, isTransient: false })
          await tx.putSnapshot(made)
          await core.audit.record(tx, caller, { action: 'instance.snapshot', target: instanceTarget(source), details: { snapshot: made.id, name: made.name } })
          return made
        }))
        return (await take(core, loop, draft.id)) ?? draft
      })
    },

    async get(caller, id) {
      requireScope(caller, 'read')
      return ownSnapshot(reader, caller, id)
    },

    async list(caller, filter = {}) {
      requireScope(caller, 'read')
      const { sourceId, name, kind, tags = {} } = filter
      const all = await reader.snapshots({
        projectId: caller.projectId,
        ...(sourceId === undefined ? {} : { sourceId }),
        ...(name === undefined ? {} : { name }),
      })
      const isMeant = (snapshot: Snapshot) =>
        (kind === undefined || snapshot.kind === kind) && Object.entries(tags).every(([key, value]) => snapshot.tags[key] === value)
      return all.filter(snapshot => isVisible(snapshot) && isMeant(snapshot))
    },

    async delete(caller, id) {
      requireScope(caller, 'write')
      const leaving = await core.store.transaction(async tx => {
        const snapshot = await ownSnapshot(tx, caller, id)
        if (snapshot.status === 'creating') throw new BerthError('invalid_state', 'The snapshot is still being taken: wait until it is ready.')
        const [user] = await tx.instances({ projectId: null, basis: id, limit: 1 })
        if (user !== undefined) {
          throw new BerthError('invalid_state', `The instance ${user.spec.name} is being made from this snapshot: wait until it is, or delete it.`, {
            details: { instanceId: user.id },
          })
        }
        await tx.putSnapshot({ ...snapshot, status: 'deleting' })
        await core.audit.record(tx, caller, { action: 'snapshot.delete', target: { kind: 'snapshot', id, name: snapshot.name } })
        return snapshot
      })
      await removeSnapshot(core, leaving)
    },

    async restore(caller, instanceId, id, options = {}) {
      requireScope(caller, 'write')
      const before = await ownInstance(reader, caller, instanceId)
      const candidate = await hostOf(core, before)
      try {
        return await core.journal.commit(async change => {
          const instance = await ownInstance(change.tx, caller, instanceId)
          const snapshot = await readySnapshot(change.tx, caller, id)
          if (snapshot.sourceId !== instanceId) {
            throw new BerthError('invalid_request', `The snapshot is of another instance, ${snapshot.sourceName}: fork it instead.`)
          }
          await core.audit.record(change.tx, caller, { action: 'instance.restore-snapshot', target: instanceTarget(instance), details: { snapshot: id } })
          return goBack(core, change, instance, snapshot, targetOf(snapshot, options.target), candidate)
        })
      } finally {
        loop.wake(instanceId)
      }
    },

    async forkSnapshot(caller, id, request) {
      requireScope(caller, 'write')
      checkInstanceName(request.name)
      const snapshot = await readySnapshot(reader, caller, id)
      const candidate = await hostOf(core, snapshot)
      const fork = await core.journal.commit(async change => {
        const current = await readySnapshot(change.tx, caller, id)
        const made = await insertFork(core, change, caller, current, request, targetOf(current, request.target), candidate)
        await core.audit.record(change.tx, caller, { action: 'snapshot.fork', target: { kind: 'snapshot', id, name: current.name }, details: { instance: made.id, name: made.spec.name } })
        return made
      })
      loop.wake(fork.id)
      return fork
    },

    async forkInstance(caller, instanceId, request) {
      requireScope(caller, 'write')
      checkInstanceName(request.name)
      await ownInstance(reader, caller, instanceId)
      const fork = Promise.withResolvers<Instance>()
      const id = newId('snapshot', core.randomBytes(ID_BYTES))
      const work = async (): Promise<void> => {
        const before = await ownInstance(reader, caller, instanceId)
        const candidate = await hostOf(core, before)
        await refuseEmpty(core, before)
        await recorded(core, id, () => core.journal.commit(async change => {
          const source = await ownInstance(change.tx, caller, instanceId)
          const made = await forkNow(core, change, caller, source, id, request, candidate)
          await core.audit.record(change.tx, caller, { action: 'instance.fork', target: instanceTarget(source), details: { instance: made.id, name: made.spec.name } })
        }))
        const [made] = await insisting(core, () => core.store.read.instances({ projectId: caller.projectId, basis: id }))
        if (made !== undefined) fork.resolve(made)
        await take(core, loop, id)
      }
      // Once it is recorded, the fork itself tells how it went.
      loop.run(instanceId, work).catch((error: unknown) => {
        core.logger.info({ err: error, instanceId }, 'an instance could not be copied for a fork')
        fork.reject(error as Error)
      })
      return fork.promise
    },
  }
}

/** The snapshot, if it is the caller's, and not one that nobody sees. */
export async function ownSnapshot(reader: Pick<StoreReader, 'snapshot'>, caller: Pick<Caller, 'projectId'>, id: SnapshotId): Promise<Snapshot> {
  const snapshot = await reader.snapshot(id)
  if (snapshot === null || snapshot.projectId !== caller.projectId || !isVisible(snapshot)) {
    throw new BerthError('not_found', `There is no snapshot ${id}.`, { details: { snapshotId: id } })
  }
  return snapshot
}

async function readySnapshot(reader: Pick<StoreReader, 'snapshot'>, caller: Caller, id: SnapshotId): Promise<Snapshot> {
  const snapshot = await ownSnapshot(reader, caller, id)
  if (snapshot.status === 'ready') return snapshot
  throw new BerthError('invalid_state', `The snapshot is ${snapshot.status}: wait until it is ready.`, { details: { snapshotId: id } })
}

function isVisible(snapshot: Snapshot): boolean {
  return !snapshot.isTransient && snapshot.status !== 'deleting'
}

// --- what is allowed ------------------------------------------------------------------------------------------

/** What can be kept of the instance now. */
function kindOf(source: Instance, wanted: SnapshotKind | undefined): SnapshotKind {
  const { phase } = source
  const possible = phase === 'running' || phase === 'unhealthy' || phase === 'standby' ? 'standby' : phase === 'stopped' || phase === 'preempted' ? 'stopped' : null
  if (possible === null || (wanted !== undefined && wanted !== possible)) throw refused(wanted === undefined ? 'snapshot' : `snapshot of kind ${wanted}`, source)
  return possible
}

/** One that was stopped before its host had made anything has nothing to copy. */
async function refuseEmpty(core: Core, source: Instance): Promise<void> {
  if (source.startedAt !== null || source.phase !== 'stopped') return
  if ((await observe(core, source)).kind !== 'absent') return
  throw new BerthError('invalid_state', 'The instance was stopped before it had a disk, so there is nothing to copy: start it first.', {
    details: { operation: 'snapshot', phase: source.phase },
  })
}

function refuseWritable(spec: InstanceSpec, kind: SnapshotKind): void {
  if (kind === 'standby' && spec.fileSystems.length > 0) {
    throw new BerthError('not_supported', 'A file system is mounted in the instance, so its memory can’t be copied: stop it first, or ask for a copy that is stopped.')
  }
  const writable = spec.volumes.find(({ mode }) => mode === 'rw')
  if (writable === undefined) return
  throw new BerthError('not_supported', `The volume ${writable.volumeId} is attached writable, so the instance can't be copied: detach it, or attach it read-only.`, {
    details: { volumeId: writable.volumeId },
  })
}

function targetOf(snapshot: Pick<Snapshot, 'kind'>, wanted: ForkTarget | undefined): ForkTarget {
  if (wanted === undefined) return snapshot.kind === 'standby' ? 'running' : 'stopped'
  if (wanted !== 'standby' || snapshot.kind === 'standby') return wanted
  throw new BerthError('invalid_state', 'There is no memory to go to standby with: ask for running or stopped.')
}

function checkWishes(request: CreateSnapshot): void {
  if (request.name !== undefined) checkInstanceName(request.name)
  checkTags(request.tags ?? {})
}

async function hostOf(core: Core, { hostId }: Pick<Instance, 'hostId'>): Promise<Candidate> {
  const link = core.fleet.link(hostId)
  if (link.silent) throw new BerthError('host_unavailable', 'The host of this instance does not answer: try again in a moment.')
  return { link, facts: await link.facts() }
}

/** A commit whose answer was lost is a wish too: what it recorded is gone on with. */
async function recorded<T>(core: Core, id: SnapshotId, commit: () => Promise<T>): Promise<T | Snapshot> {
  try {
    return await commit()
  } catch (error) {
    const draft = await insisting(core, () => core.store.read.snapshot(id))
    if (draft === null) throw error
    return draft
  }
}

// --- what is recorded -----------------------------------------------------------------------------------------

function draftOf(core: Core, source: Instance, kind: SnapshotKind, more: Pick<Snapshot, 'id' | 'name' | 'tags' | 'isTransient'>): Snapshot {
  const { hostId, imageDigest } = source
  if (hostId === null || imageDigest === null) throw refused('snapshot', source)
  return {
    projectId: source.projectId,
    kind,
    sourceId: source.id,
    sourceName: source.spec.name,
    spec: source.spec,
    imageDigest,
    hostId,
    status: 'creating',
    error: null,
    sizeBytes: 0,
    createdAt: core.now(),
    ...more,
  }
}

async function forkNow(
  core: Core,
  change: Change,
  caller: Caller,
  source: Instance,
  snapshotId: SnapshotId,
  request: ForkInstance & { readonly fromRunning: boolean },
  candidate: Candidate,
): Promise<Instance> {
  const runs = source.phase === 'running' || source.phase === 'unhealthy'
  const possible = kindOf(source, undefined)
  if (runs && !request.fromRunning) {
    throw new BerthError('invalid_state', 'The instance runs: say that it may be copied while it does, or put it in standby first.', {
      details: { operation: 'fork', phase: source.phase },
    })
  }
  const target = targetOf({ kind: possible }, request.target ?? (runs ? 'running' : source.phase === 'standby' ? 'standby' : 'stopped'))
  // Who only wants the disks is spared the memory.
  const kind = target === 'stopped' ? 'stopped' : possible
  const snapshot = draftOf(core, source, kind, { id: snapshotId, name: null, tags: {}, isTransient: true })
  await change.tx.putSnapshot(snapshot)
  return insertFork(core, change, caller, snapshot, request, target, candidate)
}

async function insertFork(
  core: Core,
  change: Change,
  caller: Caller,
  snapshot: Snapshot,
  request: ForkInstance,
  target: ForkTarget,
  candidate: Candidate,
): Promise<Instance> {
  refuseWritable(snapshot.spec, snapshot.kind)
  const id = newId('instance', core.randomBytes(ID_BYTES))
  const spec: InstanceSpec = {
    ...snapshot.spec,
    name: request.name,
    hostname: null,
    network: { ...snapshot.spec.network, ports: [] },
    removeWhenStopped: false,
    expiresAt: null,
  }
  await checkRoomInProject(core, change, caller, spec)
  for (const mount of spec.volumes) {
    const volume = await ownVolume(change.tx, caller, mount.volumeId)
    checkSharing(volume.id, volume.attachments, { instanceId: id, mode: mount.mode })
  }
  await checkFileSystems(change.tx, caller, spec)
  await checkFirewallRulesets(change.tx, caller, spec.firewallRulesets)
  const now = core.now()
  const inserted = await change.insert({
    id,
    projectId: caller.projectId,
    spec,
    imageDigest: snapshot.imageDigest,
    desired: target,
    phase: 'pending',
    phaseSince: now,
    reason: `It is made from ${snapshot.isTransient ? `the instance ${snapshot.sourceName}` : `the snapshot ${snapshot.name ?? snapshot.id} of ${snapshot.sourceName}`}.`,
    errorCode: null,
    hostId: null,
    address: null,
    basis: snapshot.id,
    generation: 0,
    exit: null,
    restartAttempts: 0,
    createdAt: now,
    startedAt: null,
    stoppedAt: null,
    deletedAt: null,
    origin: caller.via,
    annotations: request.annotations ?? {},
  })
  const { reservation, address } = await placeNew(change.tx, [candidate], inserted, core)
  for (const { volumeId, path, mode } of spec.volumes) await change.tx.putAttachment(volumeId, { instanceId: id, path, mode })
  return change.step(inserted, 'allocated', { hostId: reservation.hostId, address, generation: 1 })
}

/** The first step of an instance back to its snapshot. Only one that is to run needs CPU and memory for it. */
async function goBack(core: Core, change: Change, instance: Instance, snapshot: Snapshot, target: ForkTarget, candidate: Candidate): Promise<Instance> {
  const rests: readonly Instance['phase'][] = ['standby', 'stopped', 'preempted', 'failed']
  if (!rests.includes(instance.phase)) throw refused('restore of a snapshot', instance)
  if (snapshot.kind === 'standby' && target !== 'stopped') checkSameVolumes(instance.spec, snapshot.spec)
  const life = { desired: target, basis: snapshot.id, generation: instance.generation + 1, exit: null, restartAttempts: 0 } as const
  if (target !== 'running') return change.step(instance, 'restoring', life)
  const { address } = await placeAgain(change.tx, candidate, instance, core)
  return change.step(instance, 'restoring', { ...life, hostId: candidate.link.id, address })
}

/** The guest in the memory knows its disks; it must find them again. */
function checkSameVolumes(now: InstanceSpec, then: InstanceSpec): void {
  const spell = (spec: InstanceSpec) => spec.volumes.map(({ volumeId, path, mode }) => `${volumeId} at ${path} (${mode})`).toSorted().join(', ')
  if (spell(now) === spell(then)) return
  throw new BerthError('invalid_state', `The volumes have changed since the snapshot was taken: attach ${spell(then) === '' ? 'none' : spell(then)}, or go back to its disks alone.`)
}

