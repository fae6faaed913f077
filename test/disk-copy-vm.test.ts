/** The disk of a VM that is copied while its programs write: the copy is of one moment, and nothing of the copying stays. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { SnapshotUse } from '../src/engine/host-snapshots.ts'
import type { VmSpec } from '../src/engine/host-port.ts'
import { runCommand } from '../src/host/command.ts'
import { QmpClient } from '../src/host/qemu/qmp.ts'
import type { SnapshotId, VolumeId } from '../src/instance/model.ts'
import { eventually, exec, isRoot, openLab, refOf, shell, traces, volume, type Lab } from './host-lab.ts'

const MIB = 1024 * 1024
const FILES = 24
/**
 * Writes files whose names tell the hash of what is in them, each whole under its name or not there; now and then it
 * gives blocks back to the disk.
 */
const WRITER = `mkdir -p $D; i=0; while true; do i=$((i+1)); n=$((i%${FILES}))
head -c $((50000 + i%7*30000)) /dev/urandom > $D/new; sum=$(md5sum < $D/new | cut -d' ' -f1); rm -f $D/f$n.*; mv $D/new $D/f$n.$sum
[ $((i%10)) = 0 ] && sync; [ $((i%37)) = 0 ] && fstrim / 2>/dev/null; done`
/** Read from the disk, not from memory that the copy inherited. */
const CHECK = `sync; echo 3 > /proc/sys/vm/drop_caches; cd $D; bad=0; for f in f*; do [ "f\${f#f}" = "$f" ] && [ "$(md5sum < $f | cut -d' ' -f1)" = "\${f#*.}" ] || bad=$((bad+1)); done; echo $(ls | grep -c '^f') $bad`

const newSnapshot = () => randomUUID() as SnapshotId
const use = (snapshotId: SnapshotId, more: Partial<SnapshotUse> = {}): SnapshotUse => ({ snapshotId, memory: true, renew: true, consume: true, ...more })
const script = (text: string, dir: string) => `D=${dir}; ${text}`

describe('the disk of a VM that writes', { skip: !isRoot && 'templates need root' }, () => {
  let lab: Lab
  const said: string[] = []
  const log = { info: (_: object, text: string) => void said.push(text), warn: (_: object, text: string) => void said.push(text) }
  before(async () => {
    lab = await openLab({ templates: [{ vcpus: 1, memoryBytes: 128 * MIB }], log })
    await eventually('a template', () => said.includes('a template is ready'))
  })
  after(() => lab.close())

  const writing = async (dir: string, more: Partial<VmSpec> = {}): Promise<VmSpec> => {
    const spec = lab.spec({ overlayBytes: 96 * MIB, command: ['sh', '-c', script(WRITER, dir)], ...more })
    assert.equal((await lab.host.start(spec)).how, 'template')
    await eventually('many files', async () => Number(await shell(lab.host, spec, `ls ${dir} 2>/dev/null | grep -c '^f' || true`)) >= FILES - 1)
    return spec
  }
  const assertWhole = async (spec: VmSpec, dir: string) => {
    const [count, bad] = (await shell(lab.host, spec, script(CHECK, dir))).split(' ')
    assert.equal(bad, '0')
    assert.ok(Number(count) >= FILES - 2, `${count} files are there`)
  }
  const isSound = async (spec: VmSpec) => {
    await lab.host.stop(refOf(spec), { graceMs: 0 })
    await runCommand('e2fsck', ['-p', join(lab.dataDir, 'instances', spec.instanceId, 'overlay.ext4')])
    await runCommand('e2fsck', ['-fn', join(lab.dataDir, 'instances', spec.instanceId, 'overlay.ext4')])
  }
  /** The writer sleeps for ever, so that what it wrote can be read in peace. */
  const quieten = (spec: VmSpec) => shell(lab.host, spec, `kill -STOP $(ps | awk '/[m]kdir -p/ { print $1 }'); true`)

  for (const [where, more] of [
    ['', {}],
    [', with a limit of its disk and a volume that has a writable layer', { diskIoBytesPerSecond: 200 * MIB }],
  ] as const) {
    it(`is whole in every fork, and in the source${where}`, async () => {
      const isLimited = where !== ''
      const id = `layer-${randomUUID()}` as VolumeId
      if (isLimited) await lab.host.createVolume({ id, sizeBytes: 32 * MIB })
      const dir = isLimited ? '/data/d' : '/root/d'
      const source = await writing(dir, { ...more, ...(isLimited ? { volumes: [volume(id, '/data', 'overlay')] } : {}) })
      for (let round = 0; round < 3; round += 1) {
        const snapshotId = newSnapshot()
        await lab.host.takeSnapshot(refOf(source), { snapshotId, memory: true, durable: round === 2 })
        const fork = { ...lab.spec({ overlayBytes: source.overlayBytes }), volumes: source.volumes, command: source.command, diskIoBytesPerSecond: source.diskIoBytesPerSecond }
        await lab.host.applySnapshot(fork, use(snapshotId))
        await lab.host.resume(fork)
        await quieten(fork)
        await assertWhole(fork, dir)
        await isSound(fork)
        await lab.host.destroy(refOf(fork))
        await lab.host.deleteSnapshot(snapshotId)
      }
      // Disks alone: what had been written out is there.
      const snapshotId = newSnapshot()
      if (!isLimited) {
        await lab.host.takeSnapshot(refOf(source), { snapshotId, memory: false, durable: false })
        const fork = lab.spec({ overlayBytes: source.overlayBytes })
        await lab.host.applySnapshot(fork, use(snapshotId, { memory: false }))
        await lab.host.start(fork)
        await assertWhole(fork, dir)
        await isSound(fork)
        await lab.host.destroy(refOf(fork))
        await lab.host.deleteSnapshot(snapshotId)
      }
      // The source can sleep: nothing of the copying is left in it.
      await lab.host.suspend(refOf(source))
      await lab.host.resume(source)
      await quieten(source)
      await assertWhole(source, dir)
      await isSound(source)
      assert.deepEqual((await readdir(join(lab.dataDir, 'instances', source.instanceId))).filter((name) => name.includes('snapshot')), [])
      await lab.host.destroy(refOf(source))
      assert.deepEqual(await traces(lab, source.instanceId), [])
      if (isLimited) await lab.host.deleteVolume(id)
    })
  }

  it('is left alone by a copy that fails, and by one whose server died in the middle', async () => {
    const source = await writing('/root/d')
    const dir = join(lab.dataDir, 'instances', source.instanceId)
    const beside = join(dir, 'overlay.ext4.snapshot')
    await mkdir(join(beside, 'in-the-way'), { recursive: true })
    await assert.rejects(lab.host.takeSnapshot(refOf(source), { snapshotId: newSnapshot(), memory: true, durable: false }))
    assert.equal((await exec(lab.host, source, ['true'])).code, 0)
    await rm(beside, { recursive: true })

    await lab.host.close()
    const [run] = await readdir(lab.runDir)
    const qmp = await QmpClient.connect(join(lab.runDir, run ?? '', source.instanceId, 'qmp'), { timeoutMs: 30_000 })
    await qmp.execute('block-dirty-bitmap-add', { node: 'overlay', name: 'berth-copy', persistent: false })
    await qmp.execute('blockdev-add', { driver: 'null-co', 'node-name': 'copy-overlay', size: 96 * MIB })
    await qmp.execute('blockdev-backup', { 'job-id': 'copy-overlay', device: 'overlay', target: 'copy-overlay', sync: 'full', speed: 65_536, 'auto-dismiss': false })
    await qmp.execute('stop')
    qmp.close()
    await lab.reopen()
    assert.equal((await exec(lab.host, source, ['true'])).code, 0)
    const snapshotId = newSnapshot()
    await lab.host.takeSnapshot(refOf(source), { snapshotId, memory: true, durable: false })
    await lab.host.deleteSnapshot(snapshotId)
    await lab.host.suspend(refOf(source))
    await lab.host.resume(source)
    await quieten(source)
    await assertWhole(source, '/root/d')
    await lab.host.destroy(refOf(source))
    assert.deepEqual(await traces(lab, source.instanceId), [])
  })
})
