/** Instances that are clones of a template, on real VMs: each is itself, sleeps and wakes. */
import assert from 'node:assert/strict'
import { open, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { randomUUID } from 'node:crypto'
import type { VmSpec } from '../src/engine/host-port.ts'
import { runCommand } from '../src/host/command.ts'
import type { VolumeId } from '../src/instance/model.ts'
import { eventually, exec, isRoot, logLines, openLab, qemusOf, refOf, shell, traces, volume, type Lab } from './host-lab.ts'

/** The process of the application; busybox has no pgrep. */
const PROCESS = `ps | awk '/[w]hile true/ { print $1; exit }'`
const MIB = 1024 * 1024
const SIZE = { vcpus: 1, memoryBytes: 128 * MIB }
const CLONES = 20
/** Somebody's, so that there is SSH at all. */
const SSH_KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIu2JBzvXVCmT2vN6y3nVdYr4YhX0p3wq4hQ0m0b1b2c nobody'
const COUNTING = ['sh', '-c', 'i=0; while true; do i=$((i+1)); echo $i > /count; sleep 0.05; done']

describe('a clone of a template', { skip: !isRoot && 'templates need root' }, () => {
  let lab: Lab
  const said: string[] = []
  const ready = () => said.filter((text) => text === 'a template is ready').length
  const log = { info: (_: object, text: string) => void said.push(text), warn: (_: object, text: string) => void said.push(text) }
  before(async () => {
    lab = await openLab({ templates: [SIZE], log })
    await eventually('a template', () => ready() === 1)
    const first = lab.spec()
    assert.equal((await lab.host.start(first)).how, 'template')
    assert.doesNotMatch(await notesOf(first), /with its image/)
    await lab.host.destroy(refOf(first))
    await eventually('a template of the image', () => said.includes('a template of an image is ready'))
  })
  after(() => lab.close())

  it('is itself from its first instruction: entropy, clock, machine-id, host name, address and MAC, and host keys of SSH', async () => {
    const command = ['sh', '-c', 'head -c 16 /dev/urandom | md5sum; date +%s; touch /etc/machine-id; sleep 1000000']
    const specs = Array.from({ length: CLONES }, (_, index) => withPeers(lab.spec({ hostname: `clone-${index}`, command, sshKeys: [SSH_KEY] })))
    const seen: string[][] = []
    for (const spec of specs) {
      assert.equal((await lab.host.start(spec)).how, 'template')
      assert.match(await notesOf(spec), /cloned from a template with its image/)
      const first = await eventually('what the application read first', async () => {
        const lines = await logLines(lab.host, spec)
        return lines.length >= 2 && lines.map(({ text }) => text)
      })
      assert.ok(Math.abs(Number(first[1]) - Date.now() / 1000) < 60, `a clone's clock says ${first[1]}`)
      assert.equal(await shell(lab.host, spec, 'hostname'), spec.hostname)
      const { network } = spec
      assert.ok(network !== null)
      assert.equal(await shell(lab.host, spec, 'cat /sys/class/net/eth0/address'), network.mac)
      assert.match(await shell(lab.host, spec, 'ip -4 -o addr show eth0'), new RegExp(`inet ${network.ip.replaceAll('.', '\\.')}/24`))
      seen.push([first[0] ?? '', await shell(lab.host, spec, 'head -c 16 /dev/urandom | md5sum'), await shell(lab.host, spec, 'cat /proc/sys/kernel/random/uuid')])
    }
    assert.equal(new Set(seen.flat()).size, CLONES * 3)
    const [one] = specs
    assert.ok(one !== undefined)
    const { network } = specs[1] ?? one
    assert.equal((await exec(lab.host, one, ['ping', '-c', '1', '-W', '20', network?.ip ?? ''])).code, 0)
    const hostKeys = await hostKeysOf(specs)
    for (const spec of specs) assert.ok(hostKeys.has(spec.network?.ip ?? ''), `${spec.hostname} shows no host key`)
    assert.equal(new Set(hostKeys.values()).size, CLONES)
    // The image has no machine-id; where a disk has one, the next start writes the instance's own.
    const machineIds: string[] = []
    for (const spec of specs) {
      const again = { ...spec, generation: 2 }
      await lab.host.stop(refOf(spec), { graceMs: 0 })
      assert.equal((await lab.host.start(again)).how, 'template')
      machineIds.push(await shell(lab.host, again, 'cat /etc/machine-id'))
      await lab.host.destroy(refOf(again))
    }
    for (const id of machineIds) assert.match(id, /^[0-9a-f]{32}$/)
    assert.equal(new Set(machineIds).size, CLONES)
    for (const spec of specs) assert.deepEqual(await traces(lab, spec.instanceId), [])
  })

  it('has its own disk at its own size, and takes volumes from the start', async () => {
    const id = `vol-${randomUUID()}` as VolumeId
    await lab.host.createVolume({ id, sizeBytes: 16 * MIB })
    const spec = lab.spec({ overlayBytes: 96 * MIB, volumes: [volume(id, '/data', 'rw')], diskIoBytesPerSecond: 200 * MIB })
    assert.equal((await lab.host.start(spec)).how, 'template')
    // The image's template has a disk of another size: it comes from the general one.
    assert.doesNotMatch(await notesOf(spec), /with its image/)
    assert.equal(Number(await shell(lab.host, spec, 'cat /sys/block/vdb/size')) * 512, 96 * MIB)
    await shell(lab.host, spec, 'echo kept > /root/kept; echo shared > /data/file; sync')
    await lab.host.suspend(refOf(spec))
    await lab.host.resume(spec)
    assert.equal(await shell(lab.host, spec, 'cat /root/kept /data/file'), 'kept\nshared')
    await lab.host.stop(refOf(spec), { graceMs: 0 })
    const again = { ...spec, generation: 2 }
    assert.equal((await lab.host.start(again)).how, 'template')
    assert.equal(await shell(lab.host, again, 'cat /root/kept /data/file'), 'kept\nshared')
    await lab.host.destroy(refOf(again))
  })

  it('sleeps and wakes again and again with its processes, keeping only what it wrote', async () => {
    const spec = lab.spec({ command: COUNTING })
    await lab.host.start(spec)
    const count = () => eventually('a count', async () => Number((await exec(lab.host, spec, ['cat', '/count'])).stdout))
    const process = async () => await shell(lab.host, spec, PROCESS)
    const before = { count: await count(), process: await process() }
    assert.match(before.process, /^\d+$/)
    for (let round = 0; round < 3; round += 1) {
      const { savedBytes } = await lab.host.suspend(refOf(spec))
      assert.ok(savedBytes > 0 && savedBytes < SIZE.memoryBytes / 2, `${savedBytes} bytes were saved`)
      assert.deepEqual(await qemusOf(spec.instanceId), [])
      // The server that wakes it is another one now and then.
      if (round === 1) await lab.reopen()
      assert.equal((await lab.host.resume(spec)).how, 'restored')
      await eventually('the count to go on', async () => (await count()) > before.count)
      assert.equal(await process(), before.process)
    }
    await lab.host.destroy(refOf(spec))
    assert.deepEqual(await traces(lab, spec.instanceId), [])
  })

  it('runs on while its server is replaced', async () => {
    const spec = lab.spec({ command: COUNTING })
    await lab.host.start(spec)
    const [pid] = await qemusOf(spec.instanceId)
    await lab.reopen()
    assert.deepEqual(await qemusOf(spec.instanceId), [pid])
    await eventually('the agent', () => exec(lab.host, spec, ['true']).then(({ code }) => code === 0, () => false))
    await lab.host.suspend(refOf(spec))
    await lab.host.resume(spec)
    assert.equal((await exec(lab.host, spec, ['true'])).code, 0)
    await lab.host.destroy(refOf(spec))
  })

  it('of another size boots the first time; the next one is a clone', async () => {
    const made = ready()
    const size: Partial<VmSpec> = { memoryBytes: 160 * MIB, network: null }
    assert.match(await starts('cold', size), /no template of this size is ready/)
    await eventually('a template of that size', () => ready() > made)
    await starts('template', size)
  })

  it('shares memory that only the server’s user can read and nobody can change', async () => {
    for (const id of await templates()) {
      const names = await readdir(join(lab.dataDir, 'templates', id))
      assert.deepEqual(names.filter((name) => name !== 'layer').sort(), ['memory', 'state', 'template.json'])
      for (const name of names) {
        const info = await stat(join(lab.dataDir, 'templates', id, name))
        assert.deepEqual([info.mode & 0o077, info.uid], [0, 0], name)
      }
    }
    const spec = lab.spec({ memoryBytes: 160 * MIB, network: null })
    assert.equal((await lab.host.start(spec)).how, 'template')
    const [pid] = await qemusOf(spec.instanceId)
    const shared = await open(`/proc/${pid}/fd/3`, 'r+')
    await assert.rejects(shared.write(Buffer.from('x'), 0, 1, 0), /EPERM/)
    await shared.close()
    await lab.host.destroy(refOf(spec))
  })

  /** Launches an instance, checks which way it came up, and gives the host's notes on it. */
  async function starts(how: 'cold' | 'template', more: Partial<VmSpec> = {}): Promise<string> {
    const spec = lab.spec(more)
    assert.equal((await lab.host.start(spec)).how, how)
    assert.equal((await exec(lab.host, spec, ['true'])).code, 0)
    const text = await notesOf(spec)
    await lab.host.destroy(refOf(spec))
    return text
  }

  async function notesOf({ instanceId }: VmSpec): Promise<string> {
    return await readFile(join(lab.dataDir, 'instances', instanceId, 'server.log'), 'utf8')
  }

  /** Those on the disk, when no other is being made. */
  async function templates(): Promise<string[]> {
    await eventually('templates at rest', async () => (await lab.host.facts()).templates.every(({ state }) => state === 'ready'))
    return await readdir(join(lab.dataDir, 'templates'))
  }
})

/** The ed25519 host key that each shows, by address. */
async function hostKeysOf(specs: readonly VmSpec[]): Promise<ReadonlyMap<string, string>> {
  const addresses = specs.flatMap(({ network }) => (network === null ? [] : [network.ip]))
  const told = await runCommand('ssh-keyscan', ['-T', '120', '-t', 'ed25519', ...addresses], { timeoutMs: 240_000 })
  return new Map(Array.from(told.matchAll(/^(\S+) ssh-ed25519 (\S+)$/gm), ([, address = '', key = '']) => [address, key]))
}

/** Instances of one group reach each other. */
function withPeers(spec: VmSpec): VmSpec {
  return spec.network === null ? spec : { ...spec, network: { ...spec.network, peerGroup: 'clones' } }
}
