/**
 * Copies of the disks of a running VM as they are at one moment, for which the VM stands still no longer than QEMU
 * takes to begin.
 *
 *   beforehand, while the guest runs   QEMU notes what is written from now on ─▶ the file is copied, torn where that was
 *   at the moment (the VM is paused)   a backup job of what was noted begins ─▶ the guest may go on
 *   afterwards                         the job writes those blocks over the torn ones; before the guest changes one that
 *                                      is not copied yet, QEMU copies it ─▶ the copy is whole
 *
 * Invariants: a copy gets its name only when its job has ended well; whatever happens, no job, node or note of ours
 * stays in the VM, which could not sleep with one; what a server that died left is removed by whoever comes next.
 */
import { rename, rm } from 'node:fs/promises'
import { BerthError } from '../../instance/errors.ts'
import type { InstanceId } from '../../instance/model.ts'
import type { Jail } from './jail.ts'
import { QmpRefusal, type QmpClient } from './qmp.ts'
import { copySparse } from './snapshot-store.ts'

const PREFIX = 'copy-'
const NOTE = 'berth-copy'
/** Blocks as QEMU's backup copies them. */
const NOTE_GRANULARITY_BYTES = 65_536
/** As long as copying a whole disk may take. */
const COPY_TIMEOUT_MS = 600_000
const CANCEL_TIMEOUT_MS = 30_000

export interface CopiedDisk {
  /** The block node that the guest's device uses. */
  readonly node: string
  readonly from: string
  /** In the VM's own directory, where its user may write. */
  readonly beside: string
  readonly to: string
}

export class DiskCopy {
  readonly #qmp: QmpClient
  readonly #disks: readonly CopiedDisk[]

  private constructor(qmp: QmpClient, disks: readonly CopiedDisk[]) {
    this.#qmp = qmp
    this.#disks = disks
  }

  /** Copies while the guest runs. Leaves nothing behind if it throws. */
  static async beforehand(qmp: QmpClient, jail: Jail, id: InstanceId, disks: readonly CopiedDisk[]): Promise<DiskCopy> {
    await sweepCopies(qmp)
    const copy = new DiskCopy(qmp, disks)
    try {
      for (const { node, from, beside } of disks) {
        await rm(beside, { force: true })
        await qmp.execute('block-dirty-bitmap-add', { node, name: NOTE, granularity: NOTE_GRANULARITY_BYTES, persistent: false })
        await copySparse(from, beside)
        await jail.give(beside, id, 0o600)
        await qmp.execute('blockdev-add', { driver: 'file', 'node-name': `${PREFIX}${node}-file`, filename: beside, discard: 'unmap' })
        await qmp.execute('blockdev-add', { driver: 'raw', 'node-name': `${PREFIX}${node}`, file: `${PREFIX}${node}-file`, discard: 'unmap' })
      }
      return copy
    } catch (error) {
      await copy.abandon()
      throw error
    }
  }

  /** The moment: call it while the VM is paused. */
  async begin(): Promise<void> {
    for (const { node } of this.#disks) {
      await this.#qmp.execute('blockdev-backup', {
        'job-id': `${PREFIX}${node}`,
        device: node,
        target: `${PREFIX}${node}`,
        sync: 'bitmap',
        bitmap: NOTE,
        'bitmap-mode': 'never',
        'auto-dismiss': false,
      })
    }
  }

  /** Waits until the copies are whole, and gives them their names. */
  async finish(): Promise<void> {
    await untilConcluded(this.#qmp, COPY_TIMEOUT_MS)
    for (const { id, error } of await jobs(this.#qmp)) {
      await this.#qmp.execute('job-dismiss', { id })
      if (error !== null) throw new BerthError(/no space left/i.test(error) ? 'disk_full' : 'internal', `A disk of the instance could not be copied: ${error}.`)
    }
    await sweepCopies(this.#qmp)
    for (const { beside, to } of this.#disks) await rename(beside, to)
  }

  /** Gives up. */
  async abandon(): Promise<void> {
    // The error that led here tells more than one of this, and whoever copies next sweeps first.
    await sweepCopies(this.#qmp).catch(() => undefined)
    for (const { beside } of this.#disks) await rm(beside, { force: true })
  }
}

/** Where a disk's copy is put together. */
export function besideOf(path: string): string {
  return `${path}.snapshot`
}

/** Removes from the VM what a copy that was cut off left in it. */
export async function sweepCopies(qmp: QmpClient): Promise<void> {
  for (const { id, status } of await jobs(qmp)) {
    if (status === 'concluded') continue
    await qmp.execute('block-job-cancel', { device: id, force: true }).catch((error: unknown) => {
      // It ended between the two: QEMU cancels nothing that is over.
      if (!(error instanceof BerthError && error.cause instanceof QmpRefusal)) throw error
    })
  }
  await untilConcluded(qmp, CANCEL_TIMEOUT_MS)
  for (const { id } of await jobs(qmp)) await qmp.execute('job-dismiss', { id })
  const nodes = asList(await qmp.execute('query-named-block-nodes', { flat: true }))
  const names = nodes.map((node) => String(node['node-name']))
  // The outer one first, which holds the other.
  const ours = names.filter((name) => name.startsWith(PREFIX)).toSorted((a, b) => a.length - b.length)
  for (const name of ours) await qmp.execute('blockdev-del', { 'node-name': name })
  for (const node of nodes) {
    if (asList(node['dirty-bitmaps']).some((bitmap) => bitmap['name'] === NOTE)) {
      await qmp.execute('block-dirty-bitmap-remove', { node: node['node-name'], name: NOTE })
    }
  }
}

interface Job {
  readonly id: string
  readonly status: string
  readonly error: string | null
}

async function jobs(qmp: QmpClient): Promise<readonly Job[]> {
  return asList(await qmp.execute('query-jobs'))
    .map(({ id, status, error }) => ({ id: String(id), status: String(status), error: typeof error === 'string' ? error : null }))
    .filter(({ id }) => id.startsWith(PREFIX))
}

/** By QEMU's own word, each time that a job's status changes. */
async function untilConcluded(qmp: QmpClient, timeoutMs: number): Promise<void> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const over = new AbortController()
    const changed = qmp.nextEvent(({ event, data }) => event === 'JOB_STATUS_CHANGE' && data['status'] === 'concluded', Math.max(1, deadline - performance.now()), over.signal)
    changed.catch(() => undefined) // awaited below, unless all have ended
    try {
      if ((await jobs(qmp)).every(({ status }) => status === 'concluded')) return
      await changed
    } finally {
      over.abort()
    }
  }
}

function asList(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter((item): item is Record<string, unknown> => typeof item === 'object' && item !== null) : []
}
