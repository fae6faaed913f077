/**
 * What the host remembers of a VM (`vm.json`): enough for a new server to find it, and to know what is true
 * after any crash. Written before the effect it announces, replaced atomically.
 *
 *   prepared ─▶ starting ─▶ running ─▶ suspending ─▶ suspended ─▶ resuming ─▶ running
 *                  └───────────┴──▶ exited
 *
 * A crash in `suspending` leaves a VMM that only has to be continued; a crash in `resuming` leaves a saved
 * state that is still good, because the guest ran no instruction before the record said `running`.
 */
import type { AppExit, InstanceId, SnapshotId, TimestampMs } from '../../instance/model.ts'
import type { KeptSpec, VmSpec, VmVolume } from '../../engine/host-port.ts'
import { readJson, writeJson } from './atomic-file.ts'
import type { ProcessIdentity } from './identity.ts'
import type { MachineIdentity } from './machine.ts'

export type VmStatus = 'prepared' | 'starting' | 'running' | 'suspending' | 'suspended' | 'resuming' | 'exited'

export interface VmRecord {
  readonly format: 1
  readonly spec: KeptSpec
  readonly status: VmStatus
  readonly process: ProcessIdentity | null
  /** What the VMM is or was; a saved state needs the same again. */
  readonly machine: MachineIdentity | null
  /** The template the VM is a clone of: what it has not written is there. null or missing: its memory is all its own. */
  readonly template?: string | null
  /** The snapshot that this life was made from; null or missing: none. */
  readonly applied?: SnapshotId | null
  /** What is saved is another instance's guest: it must become this one before its programs run. */
  readonly renew?: boolean
  /** The VM of the pool that it came from, whose user it runs as; null or missing: a user of its own. */
  readonly blank?: InstanceId | null
  readonly volumes: readonly PluggedVolume[]
  readonly saved: SavedState | null
  readonly exit: AppExit | null
  readonly startedAt: TimestampMs | null
}

/** A volume and the root ports its disks sit behind: the same ones at every start and restore of this life. */
export interface PluggedVolume {
  readonly volume: VmVolume
  readonly port: number
  /** Of the writable layer; only with `overlay`. */
  readonly overlayPort: number | null
  /** It is being attached or detached: whether its disks are plugged must be looked up. */
  readonly pending: boolean
}

export interface SavedState {
  readonly bytes: number
  /** Until memory and state have reached the disk they are good only in this life of the host. */
  readonly bootId: string
  readonly synced: boolean
  /** false: the guest's programs could not be frozen first; missing: they were. */
  readonly frozen?: boolean
}

export function newRecord(spec: KeptSpec, blank: InstanceId | null = null): VmRecord {
  return { format: 1, spec: keptOf(spec), status: 'prepared', process: null, machine: null, blank, volumes: [], saved: null, exit: null, startedAt: null }
}

/** Of what is wanted, what is kept: a record of an older Berth, and what a start brings, have the variables as well. */
export function keptOf(spec: KeptSpec & Partial<Pick<VmSpec, 'env'>>): KeptSpec {
  const { env: _variables, ...kept } = spec
  return kept
}

/** The template without which this VM could not sleep and wake. */
export function neededTemplate(record: VmRecord | null): string | null {
  if (record === null || record.status === 'prepared' || record.status === 'exited') return null
  return record.template ?? null
}

/** null if there is none, or one that this Berth can't read. */
export async function readRecord(path: string): Promise<VmRecord | null> {
  const value = await readJson(path)
  return isRecord(value) ? value : null
}

export async function writeRecord(path: string, record: VmRecord, options: { readonly durable?: boolean } = {}): Promise<void> {
  await writeJson(path, record, options)
}

function isRecord(value: unknown): value is VmRecord {
  return typeof value === 'object' && value !== null && 'format' in value && value.format === 1 && 'spec' in value && 'status' in value
}
