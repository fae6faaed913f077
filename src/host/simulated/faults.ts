/**
 * What may go wrong with a pretended machine, call by call: it refuses before it does anything, it fails after it
 * did everything, it never answers. And how long each call takes, half of it before the effect and half after.
 */
import type { ErrorCode } from '../../instance/errors.ts'

export type HostCall =
  | 'facts'
  | 'inventory'
  | 'prepare'
  | 'start'
  | 'stop'
  | 'suspend'
  | 'resume'
  | 'destroy'
  | 'attachVolume'
  | 'detachVolume'
  | 'attachFileSystem'
  | 'detachFileSystem'
  | 'exec'
  | 'pullImage'
  | 'importImage'
  | 'removeImage'
  | 'createVolume'
  | 'deleteVolume'
  | 'takeSnapshot'
  | 'applySnapshot'
  | 'deleteSnapshot'
  | 'snapshots'
  | 'createFileSystem'
  | 'growFileSystem'
  | 'deleteFileSystem'
  | 'setFirewall'
  | 'setPorts'

export type Fault =
  | { readonly kind: 'before' | 'after'; readonly code: ErrorCode; readonly message: string }
  /** The call never settles; `effect` says whether it did its work. */
  | { readonly kind: 'hang'; readonly effect: boolean }

export interface Call {
  readonly call: HostCall
  /** How often this call was made of this host, from 1. */
  readonly count: number
  readonly instanceId: string | null
}

/** Asked before each call; null lets it be. */
export type FaultPlan = (call: Call) => Fault | null

export type Latencies = Readonly<Partial<Record<HostCall, number>>>
