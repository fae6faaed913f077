import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { KeptSpec } from '../../engine/host-port.ts'
import { hostPaths } from '../paths.ts'
import type { VmContext } from './context.ts'
import { prepare } from './lifecycle.ts'
import type { Seat } from './seat.ts'

test('a launch is over also when the VM that it was to have from the pool could not be had', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'berth-launch-'))
  try {
    const id = '00000000-0000-4000-8000-000000000001'
    let launches = 0
    const take = () => {
      throw new Error('the pool is broken')
    }
    const launching = () => {
      launches += 1
      return () => void (launches -= 1)
    }
    const nothing = async () => undefined
    const context = {
      pool: { take },
      lull: { launching },
      naps: null,
      paths: hostPaths(dir, dir),
      images: { rootPath: () => dir },
      cgroups: { remove: nothing },
      network: { facts: () => ({ mode: 'none' }), unplug: nothing },
      fileSystems: { drop: nothing },
      jail: { share: nothing },
      artifacts: { version: '1' },
      accelerator: { accelerator: 'tcg' },
    } as unknown as VmContext
    let forgotten = false
    const forget = () => void (forgotten = true)
    const seat = { id, context, record: null, paths: context.paths.instance(id as never), admit: () => undefined, fromPool: null, prepared: null, forget } as unknown as Seat
    await assert.rejects(prepare(seat, { instanceId: id, image: 'sha256:0', network: null } as unknown as KeptSpec), /the pool is broken/)
    assert.deepEqual([launches, forgotten], [0, true])
  } finally {
    await rm(dir, { recursive: true })
  }
})
