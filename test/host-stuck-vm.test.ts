/**
 * Real VMs to which something happens that the host can't write down, read or repair at that moment: whatever it is, the
 * VM stays somebody's. It is told as what it is, it can be used and ended, and nothing of it is left.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { copyFile, mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { VmSpec, VmVolume } from '../src/engine/host-port.ts'
import { runCommand } from '../src/host/command.ts'
import type { VolumeId } from '../src/instance/model.ts'
import { eventually, isRoot, openLab, qemusOf, refOf, shell, traces, untilExited, type Lab } from './host-lab.ts'

describe('a VM stays somebody’s', () => {
  let lab: Lab
  /** One VM goes through all of it. */
  let spec: VmSpec
  before(async () => {
    lab = await openLab()
    spec = lab.spec()
    await lab.host.start(spec)
  })
  after(() => lab.close())

  const file = (name: string) => join(lab.dataDir, 'instances', spec.instanceId, name)
  const statusOf = async () => (await lab.host.inventory()).find(({ instanceId }) => instanceId === spec.instanceId)?.status

  it('when its standby fails and nothing of that can be cleared away: it runs on, its programs awake', async () => {
    await shell(lab.host, spec, 'echo $$ > /tmp/kept')
    // Neither written, nor removed as a file.
    await mkdir(file('state'))
    await assert.rejects(lab.host.suspend(refOf(spec)))
    assert.equal(await statusOf(), 'running')
    assert.match(await eventually('the guest', () => shell(lab.host, spec, 'cat /tmp/kept').catch(() => null)), /^\d+$/)
    await rm(file('state'), { recursive: true })
    await lab.host.suspend(refOf(spec))
    await lab.host.resume(spec)
    assert.match(await shell(lab.host, spec, 'cat /tmp/kept'), /^\d+$/)
  })

  it('when its sockets are removed: it gets new ones, and its programs go on', async () => {
    const [before] = await qemusOf(spec.instanceId)
    for (const name of await readdir(lab.runDir, { recursive: true })) {
      if (name.includes(spec.instanceId) && /\/(qmp|agent)$/.test(name)) await rm(join(lab.runDir, name))
    }
    await eventually('another VMM', async () => {
      const [now] = await qemusOf(spec.instanceId)
      return now !== undefined && now !== before
    })
    assert.match(await eventually('the guest', () => shell(lab.host, spec, 'cat /tmp/kept').catch(() => null)), /^\d+$/)
  })

  it('when the bridge is deleted: it is there again, with the VM on it', { skip: !isRoot && 'a bridge needs root' }, async () => {
    const ping = `ping -c 1 -W 20 $(ip route | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p') > /dev/null && echo reached`
    assert.equal(await shell(lab.host, spec, ping), 'reached')
    await runCommand('ip', ['link', 'delete', 'dev', lab.bridgeName])
    const other = lab.spec()
    await lab.host.prepare(other)
    await lab.host.destroy(refOf(other))
    assert.equal(await eventually('the way out', () => shell(lab.host, spec, ping).catch(() => null)), 'reached')
  })

  it('when its process was stopped while no server was there: the next one lets it go on', async () => {
    const [pid] = await qemusOf(spec.instanceId)
    assert.ok(pid !== undefined)
    process.kill(pid, 'SIGSTOP')
    await lab.reopen()
    assert.deepEqual(await qemusOf(spec.instanceId), [pid])
    assert.match(await eventually('the guest', () => shell(lab.host, spec, 'cat /tmp/kept').catch(() => null)), /^\d+$/)
  })

  it('when its end can’t be written down: it has ended, says how, and starts again', async () => {
    // As on a full disk: the record can't be replaced.
    await mkdir(`${file('vm.json')}.new`)
    const [pid] = await qemusOf(spec.instanceId)
    assert.ok(pid !== undefined)
    process.kill(pid, 'SIGKILL')
    assert.match((await untilExited(lab, spec)).exit.message, /VMM died/)
    assert.equal(await statusOf(), 'exited')
    assert.equal((JSON.parse(await readFile(file('vm.json'), 'utf8')) as { status: string }).status, 'running')
    await rm(`${file('vm.json')}.new`, { recursive: true })
    spec = { ...spec, generation: 2 }
    await lab.host.start(spec)
    assert.equal(await shell(lab.host, spec, 'echo alive'), 'alive')
  })

  it('or is ended, when it can’t be written down that it runs', async () => {
    const other = lab.spec()
    const record = join(lab.dataDir, 'instances', other.instanceId, 'vm.json')
    const starting = lab.host.start(other)
    const failing = assert.rejects(starting)
    await eventually('its process', async () => /"status": "starting"/.test(await readFile(record, 'utf8').catch(() => '')))
    await mkdir(`${record}.new`)
    await failing
    assert.deepEqual(await qemusOf(other.instanceId), [])
    await rm(`${record}.new`, { recursive: true })
    await lab.host.destroy(refOf(other))
    assert.deepEqual(await traces(lab, other.instanceId), [])
  })

  it('when its record was damaged while no server was there: what it wrote stays, whatever start fails, and is there at the next', async () => {
    await shell(lab.host, spec, 'echo written > /root/kept && sync')
    await lab.host.stop(refOf(spec), { graceMs: 0 })
    await writeFile(file('vm.json'), '{"format": 1, "sp')
    await lab.reopen()
    assert.equal(await statusOf(), undefined)
    spec = { ...spec, generation: 3 }
    const absent: VmVolume = { volumeId: randomUUID() as VolumeId, path: '/mnt/absent', mode: 'rw', overlayBytes: null }
    await assert.rejects(lab.host.prepare({ ...spec, volumes: [absent] }), { code: 'volume_not_found' })
    await lab.host.start(spec)
    assert.equal(await shell(lab.host, spec, 'cat /root/kept'), 'written')
  })

  it('when what it was saved as is damaged: it says so, sleeps on, and wakes when that is whole again', async () => {
    await shell(lab.host, spec, 'echo $$ > /tmp/kept')
    await lab.host.suspend(refOf(spec))
    // So that it wakes from its files.
    await lab.reopen()
    for (const name of ['state', 'memory']) {
      await copyFile(file(name), file(`${name}.whole`))
      await truncate(file(name), 0)
      await assert.rejects(lab.host.resume(spec), { code: 'invalid_state' }, name)
      assert.equal(await statusOf(), 'suspended')
      // Into the same file: it is the VM's.
      await copyFile(file(`${name}.whole`), file(name))
    }
    await lab.host.resume(spec)
    assert.match(await shell(lab.host, spec, 'cat /tmp/kept'), /^\d+$/)
  })

  it('when a volume’s file was emptied: whoever it is given to is told so, and runs on', async () => {
    const volumeId = randomUUID() as VolumeId
    await lab.host.createVolume({ id: volumeId, sizeBytes: 16 * 1024 * 1024 })
    const data = join(lab.dataDir, 'volumes', volumeId, 'data.ext4')
    await truncate(data, 0)
    await truncate(data, 16 * 1024 * 1024)
    const mount: VmVolume = { volumeId, path: '/mnt/emptied', mode: 'rw', overlayBytes: null }
    await assert.rejects(lab.host.attachVolume(refOf(spec), mount), { code: 'invalid_state', message: /disk of the instance is damaged/ })
    assert.equal(await shell(lab.host, spec, 'echo alive'), 'alive')
    const other = lab.spec({ volumes: [mount] })
    await assert.rejects(lab.host.start(other), { code: 'invalid_state', message: /disk of the instance is damaged/ })
    await lab.host.destroy(refOf(other))
    await lab.host.deleteVolume(volumeId)
  })

  it('when its network can’t be seen to by a new server: it is used, and ended with all that it has', { skip: !isRoot && 'a bridge needs root' }, async () => {
    // Somebody took the bridge away, and the new one has another subnet: the VM's address is none any more.
    await runCommand('ip', ['link', 'delete', 'dev', lab.bridgeName])
    await lab.reopen({ network: { mode: 'bridge', bridgeName: lab.bridgeName, subnet: '172.17.254.0/24' } })
    assert.match(await readFile(file('server.log'), 'utf8'), /taken over, but its network could not be seen to: The address/)
    assert.equal(await eventually('the guest', () => shell(lab.host, spec, 'echo alive').catch(() => null)), 'alive')
    await lab.host.stop(refOf(spec), { graceMs: 0 })
    assert.deepEqual(await qemusOf(spec.instanceId), [])
    await lab.host.destroy(refOf(spec))
    assert.deepEqual(await traces(lab, spec.instanceId), [])
  })
})
