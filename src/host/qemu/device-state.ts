/**
 * The state of a VM's devices without its memory: what a template and the standby of a clone keep beside the
 * memory. QEMU writes it in a millisecond into a file of its own and reads it from an inherited descriptor.
 *
 * The command is one that QEMU has for Xen, whose memory isn't QEMU's either; it needs no Xen.
 */
import { open } from 'node:fs/promises'
import type { InstanceId } from '../../instance/model.ts'
import { BerthError } from '../../instance/errors.ts'
import type { Jail } from './jail.ts'
import type { QmpClient } from './qmp.ts'

/** A QEMU inherits a template's memory as 3 and, as this, the state to load. */
export const CLONE_STATE_DESCRIPTOR = 4
const LOAD_TIMEOUT_MS = 60_000

/**
 * Writes a paused VM's devices to `path`, which `owner` may then read. Its disks are flushed, and let go of until it is
 * continued; with `goesOn` it keeps them, so that they can be copied meanwhile.
 */
export async function saveDeviceState(qmp: QmpClient, jail: Jail, owner: InstanceId, path: string, { goesOn = false } = {}): Promise<void> {
  // Made by us: the VM's user writes into the file and can't choose another.
  await (await open(path, 'w', 0o600)).close()
  await jail.give(path, owner, 0o600)
  await qmp.execute('xen-save-devices-state', { filename: path, live: !goesOn })
}

/** Loads the state that QEMU inherited as `descriptor`. The VM stays paused. */
export async function loadDeviceState(qmp: QmpClient, descriptor: number): Promise<void> {
  const ends = new Set(['completed', 'failed'])
  const ended = qmp.nextEvent(({ event, data }) => event === 'MIGRATION' && ends.has(String(data['status'])), LOAD_TIMEOUT_MS)
  ended.catch(() => undefined) // awaited below, unless a command is refused
  const [, , , { data }] = await Promise.all([
    qmp.execute('migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] }),
    // QEMU would tell the network of an address that only the template had.
    qmp.execute('migrate-set-parameters', { 'announce-rounds': 0 }),
    qmp.execute('migrate-incoming', { uri: `fd:${descriptor}` }),
    ended,
  ])
  if (data['status'] !== 'completed') throw new BerthError('internal', 'QEMU could not load the state of the VM.')
}
