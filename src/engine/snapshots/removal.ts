/** The end of a snapshot: its files first, its record last, so that what a crash leaves is found again. */
import type { Snapshot } from '../../instance/snapshot.ts'
import type { Core } from '../core.ts'
import { withDeadline } from '../fleet.ts'

export async function removeSnapshot(core: Core, snapshot: Pick<Snapshot, 'id' | 'hostId'>): Promise<void> {
  const { host } = core.fleet.link(snapshot.hostId)
  await withDeadline(host.deleteSnapshot(snapshot.id), core.config.deadlines.volumeMs, 'The host did not remove the snapshot in time.')
  await core.store.transaction(tx => tx.deleteSnapshot(snapshot.id))
}
