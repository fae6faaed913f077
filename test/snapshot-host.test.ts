/** Copies of VMs on the real host: what a program knew goes on in the copy, and the copy is somebody else. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { SnapshotUse } from '../src/engine/host-snapshots.ts'
import type { VmSpec } from '../src/engine/host-port.ts'
import type { SnapshotId, VolumeId } from '../src/instance/model.ts'
import { eventually, isRoot, logLines, openLab, qemusOf, refOf, shell, traces, volume, type Lab } from './host-lab.ts'

const MIB = 1024 * 1024
/** A word that is nowhere but in the memory of this process, told again and again with what its host name is then. */
const WORD = ['sh', '-c', 'w=$(head -c 9 /dev/urandom | base64); while true; do echo "$w $(hostname) $(head -c 6 /dev/urandom | base64) $(date +%s)"; sleep 0.2; done']

const newSnapshot = () => randomUUID() as SnapshotId
const use = (snapshotId: SnapshotId, more: Partial<SnapshotUse> = {}): SnapshotUse => ({ snapshotId, memory: true, renew: true, consume: false, ...more })

for (const kind of ['a clone of a template', 'a VM that was booted'] as const) {
  const isClone = kind === 'a clone of a template'
  describe(`a copy of ${kind}`, { skip: isClone && !isRoot && 'templates need root' }, () => {
    let lab: Lab
    const said: string[] = []
    const log = { info: (_: object, text: string) => void said.push(text), warn: (_: object, text: string) => void said.push(text) }
    before(async () => {
      lab = await openLab({ templates: isClone ? [{ vcpus: 1, memoryBytes: 128 * MIB }] : null, log })
      if (isClone) await eventually('a template', () => said.includes('a template is ready'))
    })
    after(() => lab.close())

    const lastLine = async (spec: VmSpec, after = 0) =>
      eventually('a line of the application', async () => {
        const lines = await logLines(lab.host, spec)
        return lines.length > after && lines.at(-1)?.text.split(' ')
      })

    it('goes on with the memory of one that runs, as somebody else, while that one runs on', async () => {
      const source = lab.spec({ hostname: 'source', command: WORD })
      assert.equal((await lab.host.start(source)).how, isClone ? 'template' : 'cold')
      const [word] = await lastLine(source)
      const [pid] = await qemusOf(source.instanceId)
      await shell(lab.host, source, 'echo on-disk > /root/file')
      const held = await lab.host.exec(refOf(source), { command: ['cat'], env: {}, workingDir: null, user: null, tty: null, timeoutMs: null })

      const snapshotId = newSnapshot()
      const taken = await lab.host.takeSnapshot(refOf(source), { snapshotId, memory: true, durable: true })
      assert.ok(taken.bytes > 0 && taken.memory)
      assert.deepEqual(await lab.host.takeSnapshot(refOf(source), { snapshotId, memory: true, durable: true }), taken)
      assert.deepEqual(await qemusOf(source.instanceId), [pid])
      // A command that ran through it runs on.
      await held.write(Buffer.from('still here'))
      await held.endInput()
      const output: Uint8Array[] = []
      for await (const { data } of held.output) output.push(data)
      assert.equal(Buffer.concat(output).toString(), 'still here')

      const copies = [lab.spec({ hostname: 'copy-0', command: WORD }), lab.spec({ hostname: 'copy-1', command: WORD })]
      for (const copy of copies) {
        await lab.host.applySnapshot(copy, use(snapshotId))
        await lab.host.applySnapshot(copy, use(snapshotId))
        assert.equal((await lab.host.resume(copy)).how, 'restored')
      }
      const random: string[] = []
      for (const copy of copies) {
        // The first lines of the copy's life: none of them may bear the source's name.
        await lastLine(copy, 3)
        const lines = (await logLines(lab.host, copy)).map(({ text }) => text.split(' '))
        // A line that was being put together when it was copied may have asked for the name before.
        for (const line of lines.slice(1)) assert.equal(line[1], copy.hostname)
        for (const line of lines) {
          assert.equal(line[0], word)
          if (line === lines[0]) continue
          random.push(line[2] ?? '')
          assert.ok(Math.abs(Number(line[3]) - Date.now() / 1000) < 60, `the copy's clock says ${line[3]}`)
        }
        const { network } = copy
        assert.ok(network !== null)
        assert.equal(await shell(lab.host, copy, 'cat /sys/class/net/eth0/address'), network.mac)
        const addresses = await shell(lab.host, copy, 'ip -4 -o addr show eth0')
        assert.match(addresses, new RegExp(`inet ${network.ip.replaceAll('.', '\\.')}/`))
        assert.equal(addresses.split('\n').length, 1)
        assert.match(await shell(lab.host, copy, 'ip route'), /^default via /m)
        assert.equal(await shell(lab.host, copy, 'cat /root/file /etc/hostname'), `on-disk\n${copy.hostname}`)
        await shell(lab.host, copy, `ping -c 1 -W 20 $(ip route | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p')`)
      }
      assert.ok(random.length >= 4)
      assert.equal(new Set(random).size, random.length, 'the copies drew the same random bytes')
      const drawn = await Promise.all([source, ...copies].map((spec) => shell(lab.host, spec, 'head -c 16 /dev/urandom | md5sum; cat /proc/sys/kernel/random/uuid')))
      assert.equal(new Set(drawn.flatMap((text) => text.split('\n'))).size, 6)

      // What one writes, the others don't see; the source and a copy sleep and wake like any other.
      await shell(lab.host, copies[0] ?? source, 'echo mine > /root/file; sync')
      assert.equal(await shell(lab.host, source, 'cat /root/file'), 'on-disk')
      for (const spec of [source, copies[0] ?? source]) {
        await lab.host.suspend(refOf(spec))
        await lab.host.resume(spec)
        await lastLine(spec, (await logLines(lab.host, spec)).length)
        assert.equal((await lastLine(spec))[0], word)
      }
      // The snapshot lives on without its source, and with a new server.
      await lab.host.destroy(refOf(source))
      await lab.reopen()
      assert.deepEqual(await lab.host.snapshots(), [taken])
      const late = lab.spec({ hostname: 'late', command: WORD })
      await lab.host.applySnapshot(late, use(snapshotId, { consume: true }))
      await lab.host.resume(late)
      assert.equal((await lastLine(late))[0], word)
      assert.equal(await shell(lab.host, late, 'cat /root/file'), 'on-disk')
      await lab.host.deleteSnapshot(snapshotId)
      await lab.host.deleteSnapshot(snapshotId)
      assert.deepEqual(await lab.host.snapshots(), [])
      assert.deepEqual(await readdir(join(lab.dataDir, 'snapshots')), [])
      for (const spec of [...copies, late]) await lab.host.destroy(refOf(spec))
      for (const spec of [source, ...copies, late]) assert.deepEqual(await traces(lab, spec.instanceId), [])
    })

    it('can be gone back to: memory and disk as they were', async () => {
      const spec = lab.spec({ command: WORD })
      await lab.host.start(spec)
      const [word] = await lastLine(spec)
      await shell(lab.host, spec, 'echo then > /root/file; sync')
      await lab.host.suspend(refOf(spec))
      const snapshotId = newSnapshot()
      await lab.host.takeSnapshot(refOf(spec), { snapshotId, memory: true, durable: false })
      await lab.host.resume(spec)
      await shell(lab.host, spec, 'echo now > /root/file; sync; killall sleep; true')
      await lab.host.stop(refOf(spec), { graceMs: 0 })

      const again = { ...spec, generation: 2 }
      await assert.rejects(lab.host.applySnapshot({ ...again, memoryBytes: 256 * MIB }, use(snapshotId, { renew: false })), { code: 'invalid_state' })
      await lab.host.applySnapshot(again, use(snapshotId, { renew: false }))
      await lab.host.resume(again)
      assert.equal(await shell(lab.host, again, 'cat /root/file'), 'then')
      const seen = (await logLines(lab.host, again)).length
      assert.equal((await lastLine(again, seen))[0], word)

      // And to the disks alone: another life of the same application.
      await lab.host.stop(refOf(again), { graceMs: 0 })
      const third = { ...spec, generation: 3 }
      await lab.host.applySnapshot(third, use(snapshotId, { renew: false, memory: false }))
      await assert.rejects(lab.host.resume(third), { code: 'invalid_state' })
      await lab.host.start(third)
      assert.equal(await shell(lab.host, third, 'cat /root/file'), 'then')
      await lab.host.deleteSnapshot(snapshotId)
      await lab.host.destroy(refOf(third))
    })
  })
}

describe('a snapshot', () => {
  let lab: Lab
  before(async () => {
    lab = await openLab({ templates: null })
  })
  after(() => lab.close())

  it('is refused where a copy would destroy data, or where there is nothing to copy', async () => {
    const id = `vol-${randomUUID()}` as VolumeId
    await lab.host.createVolume({ id, sizeBytes: 16 * MIB })
    const spec = lab.spec({ volumes: [volume(id, '/data', 'rw')] })
    const ask = { snapshotId: newSnapshot(), memory: true, durable: false }
    await assert.rejects(lab.host.takeSnapshot(refOf(spec), ask), { code: 'not_found' })
    await lab.host.start(spec)
    await assert.rejects(lab.host.takeSnapshot(refOf(spec), ask), { code: 'not_supported' })
    await lab.host.stop(refOf(spec), { graceMs: 0 })
    const plain = { ...spec, generation: 2, volumes: [] }
    await lab.host.prepare(plain)
    await assert.rejects(lab.host.takeSnapshot(refOf(plain), ask), { code: 'invalid_state' })
    await lab.host.takeSnapshot(refOf(plain), { ...ask, memory: false })
    await assert.rejects(lab.host.applySnapshot(lab.spec(), use(ask.snapshotId)), { code: 'invalid_state' })
    await assert.rejects(lab.host.removeImage(lab.image.digest), { code: 'image_in_use' })
    await lab.host.destroy(refOf(plain))
    await assert.rejects(lab.host.removeImage(lab.image.digest), { code: 'image_in_use' })
    await lab.host.deleteSnapshot(ask.snapshotId)
    assert.deepEqual(await readdir(join(lab.dataDir, 'instances')), [])
  })
})
