/** A real VM on a disk that is full: it is paused, says so to whoever asks for more, and goes on when there is room. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { VmSpec } from '../src/engine/host-port.ts'
import { runCommand } from '../src/host/command.ts'
import type { SnapshotId } from '../src/instance/model.ts'
import { eventually, isRoot, openLab, refOf, shell, type Lab } from './host-lab.ts'
import { owe, paid } from './support/left-behind.ts'

const DISK_BYTES = 768 * 1024 * 1024

describe('on a full disk', { skip: !isRoot && 'a disk of its own needs root' }, () => {
  let disk: string
  let lab: Lab
  let spec: VmSpec
  before(async () => {
    disk = await mkdtemp(join(tmpdir(), 'berth-full-'))
    await runCommand('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', disk])
    owe(`mount ${disk}`, async () => {
      await runCommand('umount', ['-l', disk])
      await rm(disk, { recursive: true, force: true })
    })
    await chmod(disk, 0o755)
    await mkdir(join(disk, 'data'), { mode: 0o755 })
    lab = await openLab({ dataDir: join(disk, 'data') })
    spec = lab.spec()
    await lab.host.start(spec)
  })
  after(async () => {
    await lab.close()
    await runCommand('umount', [disk])
    paid(`mount ${disk}`)
    await rm(disk, { recursive: true, force: true })
  })

  it('a guest that writes is paused, a snapshot of it is refused at once, and it goes on when there is room', async () => {
    await shell(lab.host, spec, 'echo kept > /root/kept && sync')
    const filler = join(disk, 'filler')
    const available = Number((await runCommand('df', ['--output=avail', '-B1', disk])).split('\n')[1])
    await runCommand('fallocate', ['-l', String(available), filler])
    await shell(lab.host, spec, '(dd if=/dev/urandom of=/root/big bs=1M count=32; sync) > /dev/null 2>&1 &')
    await eventually('it is paused', async () => lab.events.find(event => event.kind === 'agent' && !event.reachable && /disk of the host is full/.test(event.reason ?? '')) ?? null)
    // There is room only when it was refused: whoever waited for the guest would wait in vain.
    await assert.rejects(lab.host.takeSnapshot(refOf(spec), { snapshotId: randomUUID() as SnapshotId, memory: false, durable: true }), { code: 'disk_full' })
    await rm(filler)
    assert.equal(await eventually('it goes on', () => shell(lab.host, spec, 'cat /root/kept').catch(() => null)), 'kept')
  })
})
