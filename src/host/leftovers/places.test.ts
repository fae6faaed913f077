import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Cgroups } from '../cgroup/cgroup.ts'
import { groupLeftovers } from './places.ts'

function groupsWith(processes: Map<string, number>): Cgroups {
  return { list: async () => [...processes.keys()], processes: async (name: string) => processes.get(name) ?? 0, remove: async (name: string) => void processes.delete(name) } as unknown as Cgroups
}

test('a control group without a process is removed, and one that got a process meanwhile is not', async () => {
  const processes = new Map([['empty', 0], ['used', 3], ['taken', 0]])
  const found = await groupLeftovers(groupsWith(processes))
  assert.deepEqual(found.map(({ name }) => name), ['berth/empty', 'berth/taken'])
  processes.set('taken', 1)
  assert.deepEqual(await Promise.all(found.map(async ({ remove }) => await remove?.())), [true, false])
  assert.deepEqual([...processes.keys()], ['used', 'taken'])
})
