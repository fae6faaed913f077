/** VMs in standby whose process naps, on real VMs: they wake in it, and lose nothing when it is gone. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, chmod, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { runCommand } from '../src/host/command.ts'
import { tapName } from '../src/host/network/names.ts'
import { hostPaths } from '../src/host/paths.ts'
import type { VmSpec } from '../src/engine/host-port.ts'
import type { InstanceId } from '../src/instance/model.ts'
import { eventually, exec, isRoot, openLab, qemusOf, refOf, shell, traces, type Lab } from './host-lab.ts'
import { exec as execOver } from './support/exec-socket.ts'
import { startServer } from './support/server.ts'

const MIB = 1024 * 1024
const COUNTING = ['sh', '-c', 'i=0; while true; do i=$((i+1)); echo $i > /count; sleep 0.05; done']
/** The process of the application; busybox has no pgrep. */
const PROCESS = `ps | awk '/[w]hile true/ { print $1; exit }'`

for (const templates of isRoot ? [null, [{ vcpus: 1, memoryBytes: 128 * MIB }]] : [null]) {
  describe(`a VM in standby that naps, ${templates === null ? 'with memory of its own' : 'a clone'}`, () => {
    let lab: Lab
    const said: string[] = []
    const log = { info: (_: object, text: string) => void said.push(text), warn: (_: object, text: string) => void said.push(text) }
    before(async () => {
      lab = await openLab({ napBytes: 1024 * MIB, templates, log })
      if (templates !== null) await eventually('a template', () => said.includes('a template is ready'))
    })
    after(() => lab.close())

    const counting = async (): Promise<VmSpec> => {
      const spec = lab.spec({ command: COUNTING })
      await lab.host.start(spec)
      await eventually('a count', async () => (await exec(lab.host, spec, ['cat', '/count'])).code === 0)
      return spec
    }
    /** Its programs go on where they stood, on the disk that they had, at the time of now. */
    const assertGoesOn = async (spec: VmSpec, was: { readonly process: string; readonly count: number }) => {
      assert.equal(await shell(lab.host, spec, PROCESS), was.process)
      assert.equal(await shell(lab.host, spec, 'cat /root/kept'), 'kept')
      await eventually('the count to go on', async () => Number(await shell(lab.host, spec, 'cat /count || echo 0')) > was.count)
      const now = Number(await shell(lab.host, spec, 'date +%s'))
      assert.ok(Math.abs(now - Date.now() / 1000) < 30, `the guest's clock is ${now}`)
    }
    const standing = async (spec: VmSpec) => {
      await shell(lab.host, spec, 'echo kept > /root/kept; sync')
      return { process: await shell(lab.host, spec, PROCESS), count: Number(await shell(lab.host, spec, 'cat /count')) }
    }

    it('wakes in the process that it had, again and again, with fresh entropy', async () => {
      const spec = await counting()
      const [pid] = await qemusOf(spec.instanceId)
      const seen = new Set<string>()
      for (let round = 0; round < 3; round += 1) {
        const was = await standing(spec)
        await lab.host.suspend(refOf(spec))
        assert.equal((await lab.host.inventory()).find(({ instanceId }) => instanceId === spec.instanceId)?.status, 'suspended')
        assert.equal((await lab.host.resume(spec)).how, 'restored')
        assert.deepEqual(await qemusOf(spec.instanceId), [pid])
        await assertGoesOn(spec, was)
        seen.add(await shell(lab.host, spec, 'head -c 16 /dev/urandom | md5sum'))
      }
      assert.equal(seen.size, 3)
      await lab.host.destroy(refOf(spec))
      assert.deepEqual(await traces(lab, spec.instanceId), [])
    })

    it('wakes from its files when the process is gone, belongs to a server that ended, or has lost its network', async () => {
      const spec = await counting()
      const losses: readonly (() => Promise<unknown>)[] = [
        async () => {
          const [pid] = await qemusOf(spec.instanceId)
          assert.ok(pid !== undefined)
          process.kill(pid, 'SIGKILL')
        },
        () => lab.reopen(),
        ...(isRoot ? [() => runCommand('ip', ['link', 'delete', 'dev', tapName(lab.bridgeName, spec.instanceId)])] : []),
      ]
      for (const lose of losses) {
        const was = await standing(spec)
        const before = await qemusOf(spec.instanceId)
        await lab.host.suspend(refOf(spec))
        await lose()
        assert.equal((await lab.host.resume(spec)).how, 'restored')
        const now = await qemusOf(spec.instanceId)
        assert.equal(now.length, 1)
        assert.notDeepEqual(now, before)
        await assertGoesOn(spec, was)
      }
      await lab.host.destroy(refOf(spec))
      assert.deepEqual(await traces(lab, spec.instanceId), [])
    })

    it('ends with its standby when its agent does not answer, and wakes with one link', async () => {
      const spec = await counting()
      const was = await standing(spec)
      // QEMU talks to one at a time: when the first server lets go, it is this one's turn.
      const other = connect(hostPaths(lab.dataDir, lab.runDir).instance(spec.instanceId).agentSocket)
      await once(other, 'connect')
      await lab.reopen()
      await lab.host.suspend(refOf(spec))
      assert.deepEqual(await qemusOf(spec.instanceId), [])
      other.destroy()
      assert.equal((await lab.host.resume(spec)).how, 'restored')
      await assertGoesOn(spec, was)
      await lab.host.destroy(refOf(spec))
      assert.deepEqual(await traces(lab, spec.instanceId), [])
    })

    it('can be stopped, started anew and deleted as any other', async () => {
      const spec = await counting()
      await standing(spec)
      await lab.host.suspend(refOf(spec))
      assert.equal(await lab.host.stop(refOf(spec), { graceMs: 0 }), null)
      assert.deepEqual(await qemusOf(spec.instanceId), [])
      const again = { ...spec, generation: 2 }
      await lab.host.start(again)
      assert.equal(await shell(lab.host, again, 'cat /root/kept'), 'kept')
      await lab.host.suspend(refOf(again))
      await lab.host.destroy(refOf(again))
      assert.deepEqual(await traces(lab, spec.instanceId), [])
    })
  })
}

describe('the budget of naps', () => {
  it('ends the oldest when it is used up, and what was ended wakes all the same', async () => {
    const lab = await openLab({ napBytes: 1 })
    try {
      const spec = lab.spec()
      await lab.host.start(spec)
      await shell(lab.host, spec, 'echo here > /mark')
      await lab.host.suspend(refOf(spec))
      await eventually('its process has ended', async () => (await qemusOf(spec.instanceId)).length === 0)
      await lab.host.resume(spec)
      assert.equal(await shell(lab.host, spec, 'cat /mark'), 'here')
      await lab.host.destroy(refOf(spec))
      assert.deepEqual(await traces(lab, spec.instanceId), [])
    } finally {
      await lab.close()
    }
  })
})

describe('a nap when its server is killed', () => {
  it('is ended by the next server, and the instance wakes from its files', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'berth-nap-'))
    await chmod(dataDir, 0o711)
    let server = await startServer({ host: 'qemu', dataDir })
    try {
      const created = await server.request('POST', '/berth/v1/instances?wait=running&timeoutMs=120000', {
        body: { name: 'napper', image: 'localhost/busybox', pull: 'missing', memoryBytes: 128 * MIB, cmd: ['sleep', '1000000'] },
      })
      assert.equal(created.status, 201, created.text)
      const says = (script: string) => execOver(server.url, server.key, 'napper', { command: ['sh', '-c', script] })
      assert.equal((await says('echo here > /dev/shm/mark; echo here > /root/mark')).exitCode, 0)
      const { body } = await server.request('POST', '/berth/v1/instances/napper/standby?wait=true&timeoutMs=120000')
      const { id, phase } = body as { readonly id: InstanceId; readonly phase: string }
      assert.equal(phase, 'standby')
      const napping = await qemusOf(id)
      assert.equal(napping.length, 1)
      await server.kill()
      server = await startServer({ host: 'qemu', dataDir })
      assert.deepEqual(await qemusOf(id), [])
      const restored = await server.request('POST', '/berth/v1/instances/napper/restore?wait=true&timeoutMs=120000')
      assert.equal(restored.status, 200, restored.text)
      assert.equal((await says('cat /dev/shm/mark /root/mark')).output, 'here\nhere\n')
    } finally {
      await server.stop()
      await rm(dataDir, { recursive: true, force: true })
    }
  })
})
