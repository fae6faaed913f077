/**
 * The seat of one instance on this host: what is known of its VM, and the one line in which everybody who
 * wants to change that stands.
 *
 * Invariants: operations on a seat are serial; the record on disk says what is about to happen before it
 * happens; a call of an older generation is refused.
 */
import { existsSync } from 'node:fs'
import type { HostVm, VmRef } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'
import type { AppExit, InstanceId } from '../../instance/model.ts'
import type { GuestLink } from '../guest-link/link.ts'
import type { InstancePaths } from '../paths.ts'
import type { Prepared } from './cold-boot.ts'
import type { VmContext } from './context.ts'
import type { FromPool } from './from-pool.ts'
import { note } from './server-log.ts'
import { keptOf, writeRecord, type VmRecord } from './vm-record.ts'
import type { Vmm } from './vmm.ts'

/** More than this waiting for one instance is a client gone wild. */
const MAX_WAITING = 256

/** A VMM that runs, and the way to its agent. */
export interface Live {
  readonly vmm: Vmm
  /** null while the agent doesn't answer. */
  link: GuestLink | null
  /** What the agent told of the application's end. */
  exit: AppExit | null
}

export class Seat {
  readonly id: InstanceId
  readonly context: VmContext
  readonly paths: InstancePaths
  live: Live | null = null
  /** A VM of the pool that has moved in and will be this instance's. */
  fromPool: FromPool | null = null
  /** What `prepare` made and `start` takes. */
  prepared: Prepared | null = null
  /** It runs, and its network could not be seen to: that is tried again. */
  isUnplugged = false
  #record: VmRecord | null
  #line: Promise<unknown> = Promise.resolve()
  #waiting = 0

  constructor(context: VmContext, id: InstanceId, record: VmRecord | null) {
    this.context = context
    this.id = id
    this.paths = context.paths.instance(id)
    this.#record = record
    if (record?.blank !== undefined && record.blank !== null) context.jail.assign(id, record.blank)
  }

  get record(): VmRecord | null {
    return this.#record
  }

  /** Whether the sockets through which its VM is controlled are there: whoever loses one finds no way to it any more. */
  get hasSockets(): boolean {
    return existsSync(this.paths.qmpSocket) && existsSync(this.paths.agentSocket)
  }

  /** The record of a VM that must exist. */
  get known(): VmRecord {
    if (this.#record === null) throw new BerthError('not_found', 'This host has no such instance.')
    return this.#record
  }

  /** Whether anybody works on it or waits to. */
  get busy(): boolean {
    return this.#waiting > 0
  }

  /** Runs `work` when all that was asked before is done. */
  async serially<T>(work: () => Promise<T>): Promise<T> {
    if (this.#waiting >= MAX_WAITING) throw new BerthError('limit_exceeded', `More than ${MAX_WAITING} operations wait for this instance; try again.`)
    this.#waiting += 1
    const turn = this.#line.then(work)
    this.#line = turn.catch(() => undefined)
    try {
      return await turn
    } finally {
      this.#waiting -= 1
    }
  }

  /** Refuses a call that was meant for an earlier life. */
  admit(ref: VmRef): void {
    const seen = this.#record?.spec.generation ?? 0
    if (ref.generation >= seen) return
    throw new BerthError('invalid_state', `The call belongs to an earlier life of the instance (${ref.generation}; it is in ${seen}).`, {
      details: { generation: seen },
    })
  }

  /** The VM that must run for the call to make sense. */
  running(ref: VmRef): { readonly live: Live; readonly record: VmRecord } {
    this.admit(ref)
    const record = this.#record
    if (this.live === null || record === null || record.status !== 'running') {
      throw new BerthError('invalid_state', `The instance does not run on this host (it is ${record?.status ?? 'not there'}).`)
    }
    return { live: this.live, record }
  }

  /** The agent of a running VM. */
  link(ref: VmRef): GuestLink {
    const { live } = this.running(ref)
    if (live.link === null) throw new BerthError('guest_unreachable', "The guest's agent does not answer; try again in a moment.")
    return live.link
  }

  /** Writes what is about to be true. */
  async save(change: Partial<VmRecord>, options: { readonly durable?: boolean } = {}): Promise<VmRecord> {
    const changed = { ...this.known, ...change }
    const record = { ...changed, spec: keptOf(changed.spec) }
    await writeRecord(this.paths.record, record, options)
    this.#record = record
    return record
  }

  /**
   * What is true already (its VM has ended, or runs on): it holds even where it can't be written, because the disk is
   * full for instance. A server that finds the older record sees by the VM's process what became of it.
   */
  async believe(change: Partial<VmRecord>): Promise<void> {
    try {
      await this.save(change)
    } catch (error) {
      this.#record = { ...this.known, ...change }
      this.context.log.warn({ err: error, instance: this.id }, "an instance's record could not be written; what is known of it holds all the same")
    }
  }

  /** The first record of a VM. */
  async begin(record: VmRecord): Promise<void> {
    await writeRecord(this.paths.record, record)
    this.#record = record
  }

  forget(): void {
    this.context.jail.release(this.id)
    this.#record = null
  }

  ref(): VmRef {
    return { instanceId: this.id, generation: this.#record?.spec.generation ?? 0 }
  }

  view(): HostVm | null {
    if (this.#record === null) return null
    const { status, exit } = this.#record
    return { ...this.ref(), status: outwardStatus(status), exit: status === 'exited' ? exit : null }
  }

  note(text: string): Promise<void> {
    return note(this.paths.serverLog, text)
  }
}

function outwardStatus(status: VmRecord['status']): HostVm['status'] {
  switch (status) {
    case 'prepared':
    case 'starting':
      return 'prepared'
    case 'running':
    case 'suspending':
      return 'running'
    case 'suspended':
    case 'resuming':
      return 'suspended'
    case 'exited':
      return 'exited'
  }
}
