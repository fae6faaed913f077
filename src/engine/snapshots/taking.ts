/**
 * Taking a snapshot: recorded as `creating` before the host copies anything, in the lane of the instance that is
 * copied, so that nothing else happens to it meanwhile. A server that ended in between goes on at its next start.
 */
import { asBerthError, BerthError } from '../../instance/errors.ts'
import type { SnapshotId } from '../../instance/model.ts'
import type { Snapshot } from '../../instance/snapshot.ts'
import type { Core } from '../core.ts'
import { withDeadline } from '../fleet.ts'
import type { Reconciler } from '../reconcile.ts'
import { refOf } from '../vm-spec.ts'
import { removeSnapshot } from './removal.ts'

/** Call it in the source's lane. Resolves with the snapshot when it is there; one that is not `creating` is left alone. */
export async function take(core: Core, loop: Reconciler, id: SnapshotId): Promise<Snapshot | null> {
  const draft = await insisting(core, () => core.store.read.snapshot(id))
  if (draft?.status !== 'creating') return draft
  try {
    return await copy(core, draft)
  } catch (error) {
    await insisting(core, () => giveUp(core, draft, asBerthError(error)))
    throw error
  } finally {
    const waiting = await insisting(core, () => core.store.read.instances({ projectId: null, basis: id }))
    for (const instance of waiting) loop.wake(instance.id)
    // A fork that was given up meanwhile needs nothing any more.
    if (draft.isTransient && waiting.length === 0) await insisting(core, () => removeSnapshot(core, draft))
  }
}

async function copy(core: Core, draft: Snapshot): Promise<Snapshot> {
  const source = await core.store.read.instance(draft.sourceId)
  if (source === null || source.hostId !== draft.hostId) throw new BerthError('invalid_state', 'The instance that was to be copied is gone.')
  const { host } = core.fleet.link(draft.hostId)
  const request = { snapshotId: draft.id, memory: draft.kind === 'standby', durable: !draft.isTransient }
  const { bytes } = await withDeadline(host.takeSnapshot(refOf(source), request), core.config.deadlines.snapshotMs, 'The host did not copy it in time.')
  const ready: Snapshot = { ...draft, status: 'ready', sizeBytes: bytes }
  await core.journal.commit(async change => {
    await change.tx.putSnapshot(ready)
    const current = await change.tx.instance(source.id)
    const text = draft.isTransient ? 'It was copied for a fork.' : `The snapshot ${draft.name ?? draft.id} was taken of it.`
    if (current !== null && current.phase !== 'deleted') await change.remark(current, text)
  })
  return ready
}

/** What a fork waits for says why it never came; any other leaves nothing. */
async function giveUp(core: Core, draft: Snapshot, error: BerthError): Promise<void> {
  const { code, message } = error
  if (draft.isTransient) await core.store.transaction(tx => tx.putSnapshot({ ...draft, status: 'failed', error: { code, message } }))
  else await removeSnapshot(core, draft)
}

/** Tries what nobody else would finish a few times. */
export async function insisting<T>(core: Core, work: () => Promise<T>): Promise<T> {
  const { attempts, retryMs } = core.config
  for (let attempt = 1; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      if (attempt >= attempts) throw error
      await new Promise(resolve => setTimeout(resolve, retryMs.first * attempt))
    }
  }
}

/**
 * Takes what a crash cut off. Called before any lane moves: the source must be copied before what was asked of it
 * since is done.
 */
export async function resumeTaking(core: Core, loop: Reconciler): Promise<void> {
  for (const { id, sourceId, status } of await core.store.read.snapshots({ projectId: null })) {
    if (status !== 'creating') continue
    loop.run(sourceId, () => take(core, loop, id)).catch((error: unknown) => {
      core.logger.warn({ err: error, snapshotId: id }, 'a snapshot that was half taken could not be finished')
    })
  }
}

/** Removes what nobody needs any more, and from the hosts what no record knows. */
export async function sweepSnapshots(core: Core): Promise<void> {
  const all = await core.store.read.snapshots({ projectId: null })
  for (const snapshot of all) {
    if (snapshot.status === 'creating') continue
    const isNeeded = !snapshot.isTransient || (await core.store.read.countInstances({ projectId: null, basis: snapshot.id })) > 0
    if (isNeeded && snapshot.status !== 'deleting') continue
    await removeSnapshot(core, snapshot).catch((error: unknown) => {
      core.logger.warn({ err: error, snapshotId: snapshot.id }, 'a snapshot that nobody needs could not be removed')
    })
  }
  const known = new Set(all.map(({ id }) => id))
  for (const link of core.fleet.links) await removeUnknown(core, link, known)
}

async function removeUnknown(core: Core, link: Core['fleet']['links'][number], known: ReadonlySet<SnapshotId>): Promise<void> {
  try {
    const there = await withDeadline(link.host.snapshots(), core.config.deadlines.inventoryMs, 'The host did not say in time which snapshots it has.')
    for (const { id } of there) {
      // One that was begun since is known by now.
      if (known.has(id) || (await core.store.read.snapshot(id)) !== null) continue
      core.logger.warn({ host: link.id, snapshotId: id }, 'a snapshot that no record knows is removed')
      await link.host.deleteSnapshot(id)
    }
  } catch (error) {
    core.logger.warn({ err: error, host: link.id }, 'the snapshots of a host could not be compared with the record')
  }
}
