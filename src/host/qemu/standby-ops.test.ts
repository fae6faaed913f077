import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KeptSpec } from '../../engine/host-port.ts'
import { machineIdentity, type VmContext } from './context.ts'
import type { Seat } from './seat.ts'
import { resume } from './standby-ops.ts'
import type { VmRecord } from './vm-record.ts'

test('a VM that woke while the disk had no room for its record is ended, and can be woken again later', async () => {
  const spec = { instanceId: 'one', network: null } as unknown as KeptSpec
  const machine = { accelerator: { accelerator: 'tcg' }, qemuVersion: '7.2', cpuModel: 'any' } as unknown as VmContext
  const done: string[] = []
  const saved = { bytes: 1, bootId: 'this', synced: true }
  let record = { status: 'suspended', saved, machine: machineIdentity(machine), spec, startedAt: 1, process: null } as unknown as VmRecord
  const vmm = { kill: async () => void done.push('killed'), qmp: { execute: async (command: string) => void done.push(command) } }
  const seat = {
    id: 'one',
    context: { ...machine, naps: { take: async () => ({ vmm, link: null, exit: null }) }, cgroups: { remove: async () => void done.push('group removed') } },
    admit: () => undefined,
    get known() {
      return record
    },
    save: async (change: Partial<VmRecord>) => {
      if (change.status === 'running') throw new Error('no room')
      record = { ...record, ...change }
    },
    believe: async (change: Partial<VmRecord>) => {
      record = { ...record, ...change }
    },
  } as unknown as Seat
  await assert.rejects(resume(seat, spec), /no room/)
  assert.deepEqual(done, ['killed', 'group removed'])
  assert.deepEqual([record.status, record.saved, record.process], ['suspended', saved, null])
})
