/** Snapshots of pretended VMs: copies of their files and of what they were doing. */
import type { HostSnapshots, HostSnapshot } from '../../engine/host-snapshots.ts'
import type { VmRef, VmSpec } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'
import type { SnapshotId } from '../../instance/model.ts'
import type { HostCall } from './faults.ts'
import type { MachineState, SnapshotState, VmState } from './machine-state.ts'

/** What the rest of the pretended host lends. */
export interface Pretence {
  readonly state: MachineState
  readonly act: <T>(call: HostCall, instanceId: string | null, effect: () => T | Promise<T>) => Promise<T>
  readonly guard: (ref: VmRef) => void
  readonly now: () => number
  readonly prepared: (spec: VmSpec) => VmState
  readonly halted: (vm: VmState) => void
}

export function pretendSnapshots({ state, act, guard, now, prepared, halted }: Pretence): HostSnapshots {
  const shelf = (): Record<string, SnapshotState> => (state.snapshots ??= {})
  return {
    takeSnapshot: (ref, request) =>
      act('takeSnapshot', ref.instanceId, () => {
        const existing = shelf()[request.snapshotId]
        if (existing !== undefined) return told(existing)
        guard(ref)
        const vm = state.vms[ref.instanceId]
        if (vm === undefined) throw new BerthError('invalid_state', 'There is no VM to copy.')
        const lives = vm.status === 'running' || vm.status === 'suspended'
        if (request.memory && !lives) throw new BerthError('invalid_state', 'The VM has no memory to keep.')
        const leftMs = vm.endsAt === null ? vm.leftMs : Math.max(0, vm.endsAt - now())
        const taken: SnapshotState = {
          id: request.snapshotId,
          memory: request.memory ? { command: vm.command, env: vm.env, leftMs } : null,
          files: structuredClone(vm.files),
          bytes: request.memory ? vm.memoryBytes : 2 ** 20,
        }
        shelf()[request.snapshotId] = taken
        return told(taken)
      }),
    applySnapshot: (spec, use) =>
      act('applySnapshot', spec.instanceId, () => {
        guard(spec)
        const before = state.vms[spec.instanceId]
        if (before?.applied === use.snapshotId && before.generation === spec.generation) return
        const source = shelf()[use.snapshotId]
        if (source === undefined) throw new BerthError('not_found', `The snapshot ${use.snapshotId} is not on this host any more.`)
        if (use.memory && source.memory === null) throw new BerthError('invalid_state', 'The snapshot holds disks alone.')
        if (before?.status === 'running') halted(before)
        const vm = prepared(spec)
        for (const path of Object.keys(vm.files)) delete vm.files[path]
        Object.assign(vm.files, structuredClone(source.files))
        vm.exit = null
        vm.applied = use.snapshotId
        vm.status = use.memory ? 'suspended' : 'prepared'
        vm.endsAt = null
        vm.leftMs = use.memory ? (source.memory?.leftMs ?? null) : null
      }),
    deleteSnapshot: id => act('deleteSnapshot', null, () => void delete shelf()[id]),
    snapshots: () => act('snapshots', null, () => Object.values(shelf()).map(told)),
  }
}

function told({ id, memory, bytes }: SnapshotState): HostSnapshot {
  return { id: id as SnapshotId, memory: memory !== null, bytes }
}
