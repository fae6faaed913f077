/**
 * The part of the Host port that copies VMs: a snapshot keeps what a VM was at one moment, apart from the VM.
 *
 * Invariants: a snapshot is whole or not there; it is never changed; it needs its VM no longer, and the VM runs
 * on as if nothing had happened (it stood still for a moment).
 */
import type { SnapshotId } from '../instance/model.ts'
import type { VmRef, VmSpec } from './host-port.ts'

export interface HostSnapshots {
  /** Copies the VM's disks and, where it runs or sleeps, its memory. The same id again finds what is there. */
  takeSnapshot(vm: VmRef, request: SnapshotRequest): Promise<HostSnapshot>
  /**
   * Gives a VM that doesn't run the disks of a snapshot; with `memory` it is `suspended` afterwards, otherwise
   * `prepared`. What it had before is lost, but only once all that can fail is done. The same call of the same
   * generation finds it done.
   */
  applySnapshot(vm: VmSpec, use: SnapshotUse): Promise<void>
  /** One that isn't there is gone already. */
  deleteSnapshot(id: SnapshotId): Promise<void>
  snapshots(): Promise<readonly HostSnapshot[]>
}

export interface SnapshotRequest {
  readonly snapshotId: SnapshotId
  /** false keeps the disks alone; what programs have written is brought to them first. */
  readonly memory: boolean
  /** It has to survive a power cut from the moment it is told of. */
  readonly durable: boolean
}

export interface SnapshotUse {
  readonly snapshotId: SnapshotId
  readonly memory: boolean
  /** The VM is another than the one that was copied: before its programs run on it gets its own identity. */
  readonly renew: boolean
  /** Nobody else will use the snapshot: its files may be taken instead of copied. */
  readonly consume: boolean
}

export interface HostSnapshot {
  readonly id: SnapshotId
  readonly memory: boolean
  /** What it takes of the disk. */
  readonly bytes: number
}
