/**
 * A snapshot: what an instance was at one moment, kept apart from it. It outlives its source.
 *
 *   creating ─▶ ready ─▶ deleting        creating ─▶ failed (a transient one, until who waits for it knows)
 */
import type { ErrorCode } from './errors.ts'
import type { HostId, ImageDigest, InstanceId, InstanceSpec, ProjectId, SnapshotId, TimestampMs } from './model.ts'

/** `standby` holds memory and disks: what is made from it goes on. `stopped` holds disks: what is made from it starts. */
export const SNAPSHOT_KINDS = ['standby', 'stopped'] as const
export type SnapshotKind = (typeof SNAPSHOT_KINDS)[number]

export interface Snapshot {
  readonly id: SnapshotId
  readonly projectId: ProjectId
  /** Unique among those of one source; null has none. */
  readonly name: string | null
  readonly kind: SnapshotKind
  readonly sourceId: InstanceId
  /** Name and specification of the source when it was taken. */
  readonly sourceName: string
  readonly spec: InstanceSpec
  readonly imageDigest: ImageDigest
  readonly hostId: HostId
  readonly tags: Readonly<Record<string, string>>
  readonly status: 'creating' | 'ready' | 'failed' | 'deleting'
  readonly error: { readonly code: ErrorCode; readonly message: string } | null
  /** What it takes of its host's disk; 0 until it is there. */
  readonly sizeBytes: number
  readonly createdAt: TimestampMs
  /** Taken for one fork and gone with that: no client sees it. */
  readonly isTransient: boolean
}

/** States that an instance made from a snapshot can end up in. */
export const FORK_TARGETS = ['running', 'standby', 'stopped'] as const
export type ForkTarget = (typeof FORK_TARGETS)[number]
