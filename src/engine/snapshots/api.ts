/** Snapshots and forks, as the engine offers them. Calls that make an instance return once the wish is recorded. */
import type { Instance, InstanceId, SnapshotId } from '../../instance/model.ts'
import type { ForkTarget, Snapshot, SnapshotKind } from '../../instance/snapshot.ts'
import type { Caller } from '../api.ts'

export interface CreateSnapshot {
  /** Default: what the instance's phase allows. */
  readonly kind?: SnapshotKind
  readonly name?: string
  readonly tags?: Readonly<Record<string, string>>
}

export interface ForkInstance {
  readonly name: string
  /** Default: the state of the source; of a snapshot with memory `running`, of one without `stopped`. */
  readonly target?: ForkTarget
  readonly annotations?: Readonly<Record<string, string>>
}

export interface SnapshotFilter {
  readonly sourceId?: InstanceId
  readonly kind?: SnapshotKind
  readonly name?: string
  readonly tags?: Readonly<Record<string, string>>
}

export interface Snapshots {
  /** Resolves when it is there. A running instance stands still for a moment and runs on. */
  create(caller: Caller, instanceId: InstanceId, request: CreateSnapshot): Promise<Snapshot>
  get(caller: Caller, id: SnapshotId): Promise<Snapshot>
  /** Newest first. */
  list(caller: Caller, filter?: SnapshotFilter): Promise<readonly Snapshot[]>
  /** `invalid_state` while an instance is being made from it. */
  delete(caller: Caller, id: SnapshotId): Promise<void>
  /** The instance becomes what it was; it must not run. Its name, address and identity stay. */
  restore(caller: Caller, instanceId: InstanceId, id: SnapshotId, options?: { readonly target?: ForkTarget }): Promise<Instance>
  /** A new instance that goes on from where this one is now. Of one that runs only with `fromRunning`. */
  forkInstance(caller: Caller, instanceId: InstanceId, request: ForkInstance & { readonly fromRunning: boolean }): Promise<Instance>
  forkSnapshot(caller: Caller, id: SnapshotId, request: ForkInstance): Promise<Instance>
}
