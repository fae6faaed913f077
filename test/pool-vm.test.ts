/** VMs that wait in the pool, on real ones: handed out as somebody new each, replaced, bounded, and gone with their server. */
import assert from 'node:assert/strict'
import { readdir, readFile, rm } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { VmSpec } from '../src/engine/host-port.ts'
import { runCommand } from '../src/host/command.ts'
import { tapName } from '../src/host/network/names.ts'
import { eventually as eventuallyServed, startServer, type TestServer } from './support/server.ts'
import { eventually, exec, isRoot, logLines, openLab, qemusOf, refOf, shell, traces, untilExited, type Lab } from './host-lab.ts'

const MIB = 1024 * 1024
const SIZE = { vcpus: 1, memoryBytes: 128 * MIB }
const OVERLAY_BYTES = 64 * MIB
const HANDOUTS = 20
/** Handed out at once; the pool keeps two of a size before it knows how many are wanted. */
const AT_ONCE = 2
/** So long the pool leaves the machine to launches. */
const LONGEST_PAUSE_MS = 3000

describe('a VM of the pool', { skip: !isRoot && 'templates need root' }, () => {
  let lab: Lab
  const said: string[] = []
  const log = { info: (_: object, text: string) => void said.push(text), warn: (_: object, text: string) => void said.push(text) }
  before(async () => {
    lab = await openLab({ templates: [SIZE], pool: { budgetBytes: 1024 * MIB, overlayBytes: OVERLAY_BYTES }, log })
    await waiting(AT_ONCE)
  })
  after(() => lab.close())

  it('is replaced when the launch that took it is over, not beside it', async () => {
    const begun = performance.now()
    const spec = lab.spec({ command: ['sleep', '1000000'] })
    await lab.host.prepare(spec)
    assert.equal((await lab.host.start(spec)).how, 'pool')
    // A launch that takes very long doesn't keep the pool empty: then there is nothing to see.
    const soon = performance.now() - begun < LONGEST_PAUSE_MS
    const there = await readdir(join(lab.dataDir, 'instances'))
    if (soon) assert.equal(there.length, AT_ONCE, 'the one that was taken, and those that wait')
    await waiting(AT_ONCE)
    await lab.host.destroy(refOf(spec))
  })

  it(`becomes an instance that shares nothing with another: in ${HANDOUTS} of them`, async () => {
    const command = ['sh', '-c', 'head -c 16 /dev/urandom | md5sum; cat /etc/machine-id; date +%s; sleep 1000000']
    const seen: Record<'random' | 'machineId' | 'mac' | 'uuid', string[]> = { random: [], machineId: [], mac: [], uuid: [] }
    for (let index = 0; index < HANDOUTS; index += 1) {
      // The first can be any image's; from then on there are some of this very image.
      const kind = index === 0 ? 'general' : 'image'
      await waiting(1, kind)
      const spec = lab.spec({ hostname: `taken-${index}`, command: ['sh', '-c', `touch /etc/machine-id; ${command[2]}`] })
      assert.equal((await lab.host.start(spec)).how, 'pool')
      if (kind === 'image') assert.match(await readFile(join(lab.dataDir, 'instances', spec.instanceId, 'server.log'), 'utf8'), /it waited in the pool with its image/)
      const [random = '', , clock = ''] = await eventually('what the application read first', async () => {
        const lines = await logLines(lab.host, spec)
        return lines.length >= 2 && lines.map(({ text }) => text)
      })
      assert.ok(Math.abs(Number(clock === '' ? (await shell(lab.host, spec, 'date +%s')) : clock) - Date.now() / 1000) < 120, `its clock says ${clock}`)
      assert.equal(await shell(lab.host, spec, 'hostname; cat /etc/hostname'), `${spec.hostname}\n${spec.hostname}`)
      const { network } = spec
      assert.ok(network !== null)
      assert.equal(await shell(lab.host, spec, 'cat /sys/class/net/eth0/address'), network.mac)
      const address = await shell(lab.host, spec, 'ip -4 -o addr show eth0')
      assert.match(address, new RegExp(`inet ${network.ip.replaceAll('.', '\\.')}/24`))
      assert.doesNotMatch(address, /192\.0\.2\./)
      seen.random.push(random, await shell(lab.host, spec, 'head -c 16 /dev/urandom | md5sum'))
      seen.mac.push(network.mac)
      seen.uuid.push(await shell(lab.host, spec, 'cat /proc/sys/kernel/random/uuid'))
      // Nothing of the rehearsal is left: no mount, no file, no process.
      assert.doesNotMatch(await shell(lab.host, spec, 'cat /proc/mounts; ps; ls / /bin'), /rehears/)
      assert.equal(Number(await shell(lab.host, spec, 'cat /sys/block/vdb/size')) * 512, OVERLAY_BYTES)
      await lab.host.destroy(refOf(spec))
      assert.deepEqual(await traces(lab, spec.instanceId), [])
    }
    assert.equal(new Set(seen.random).size, HANDOUTS * 2)
    assert.equal(new Set(seen.uuid).size, HANDOUTS)
    assert.equal(new Set(seen.mac).size, HANDOUTS)
  })

  it('takes what the instance asks for: its disk’s size, limits, volumes, published ports', async () => {
    await waiting(1, 'general')
    const spec = lab.spec({ overlayBytes: 96 * MIB, diskIoBytesPerSecond: 100 * MIB })
    const ports = [{ hostPort: 28_080, guestPort: 80, protocol: 'tcp' as const }]
    assert.ok(spec.network !== null)
    const asked: VmSpec = { ...spec, network: { ...spec.network, ports, downloadBytesPerSecond: 10 * MIB, uploadBytesPerSecond: 10 * MIB } }
    await lab.host.prepare(asked)
    assert.equal((await lab.host.start(asked)).how, 'pool')
    assert.equal(Number(await shell(lab.host, asked, 'cat /sys/block/vdb/size')) * 512, 96 * MIB)
    await shell(lab.host, asked, 'echo kept > /root/kept; sync')
    await lab.host.destroy(refOf(asked))
  })

  it('sleeps, wakes, is taken over by another server, stops and starts like any other', async () => {
    await waiting(1)
    const spec = lab.spec({ command: ['sh', '-c', 'echo alive; sleep 1000000'] })
    assert.equal((await lab.host.start(spec)).how, 'pool')
    await shell(lab.host, spec, 'echo kept > /root/kept')
    await lab.host.suspend(refOf(spec))
    await lab.host.resume(spec)
    assert.equal(await shell(lab.host, spec, 'cat /root/kept'), 'kept')
    await lab.reopen()
    await eventually('the agent', () => exec(lab.host, spec, ['true']).then(({ code }) => code === 0, () => false))
    await lab.host.suspend(refOf(spec))
    await lab.reopen()
    assert.equal((await lab.host.resume(spec)).how, 'restored')
    await lab.host.stop(refOf(spec), { graceMs: 0 })
    const again = { ...spec, generation: 2 }
    assert.notEqual((await lab.host.start(again)).how, 'pool')
    assert.equal(await shell(lab.host, again, 'cat /root/kept'), 'kept')
    assert.deepEqual((await logLines(lab.host, again)).map(({ text }) => text).filter((text) => text === 'alive').length, 2)
    await lab.host.destroy(refOf(again))
    assert.deepEqual(await traces(lab, spec.instanceId), [])
  })

  it('that dies while it waits is replaced; one that dies as it is taken costs the instance nothing', async () => {
    await waiting(AT_ONCE)
    const before = await poolVms(lab)
    for (const { pid } of before) process.kill(pid, 'SIGKILL')
    await eventually('others in their place', async () => {
      const now = await poolVms(lab)
      return now.length >= AT_ONCE && now.every(({ pid }) => before.every((other) => other.pid !== pid))
    })
    await waiting(AT_ONCE)
    for (const { id } of before) assert.deepEqual(await traces(lab, id as VmSpec['instanceId']), [])
    const spec = lab.spec()
    await lab.host.prepare(spec)
    const record = JSON.parse(await readFile(join(lab.dataDir, 'instances', spec.instanceId, 'vm.json'), 'utf8')) as { readonly blank: string }
    for (const pid of await pidsOf(lab, record.blank)) process.kill(pid, 'SIGKILL')
    const { how } = await lab.host.start(spec)
    assert.notEqual(how, 'already-running')
    assert.equal((await exec(lab.host, spec, ['true'])).code, 0)
    await lab.host.destroy(refOf(spec))
    assert.deepEqual(await traces(lab, spec.instanceId), [])
  })

  it('whose network interface is removed is replaced while it waits, and repaired when it runs', async () => {
    await waiting(AT_ONCE)
    const waits = await poolVms(lab)
    for (const { id } of waits) await removeTapOf(lab, id)
    await eventually('others in their place', async () => {
      const now = await poolVms(lab)
      return now.length >= AT_ONCE && now.every(({ pid }) => waits.every((other) => other.pid !== pid))
    })
    await waiting(AT_ONCE)
    const spec = lab.spec({ command: ['sh', '-c', 'echo $$ > /pid; while true; do sleep 1; done'] })
    assert.equal((await lab.host.start(spec)).how, 'pool')
    await eventually('its application', () => shell(lab.host, spec, 'cat /proc/$(cat /pid)/stat').catch(() => null))
    const ping = `ping -c 1 -W 20 $(ip route | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p') > /dev/null; cut -d ' ' -f 1,22 /proc/$(cat /pid)/stat`
    const asleep = await shell(lab.host, spec, ping)
    const [before] = await qemusOf(spec.instanceId)
    await removeTapOf(lab, spec.instanceId)
    await eventually('another VMM on another tap', async () => {
      const [now] = await qemusOf(spec.instanceId)
      return now !== undefined && now !== before && existsSync(`/sys/class/net/${tapName(lab.bridgeName, spec.instanceId)}`)
    })
    assert.equal(await eventually('the guest behind it', () => shell(lab.host, spec, ping).catch(() => null)), asleep)
    await lab.host.destroy(refOf(spec))
    assert.deepEqual(await traces(lab, spec.instanceId), [])
  })

  it('ends for good when its instance does', async () => {
    await waiting(1)
    const spec = lab.spec({ command: ['sh', '-c', 'sleep 0.1; exit 7'] })
    assert.equal((await lab.host.start(spec)).how, 'pool')
    assert.equal((await untilExited(lab, spec)).exit.code, 7)
    await lab.host.destroy(refOf(spec))
    const never = lab.spec()
    await waiting(1)
    await lab.host.prepare(never)
    await lab.host.destroy(refOf(never))
    assert.deepEqual(await traces(lab, never.instanceId), [])
  })

  it('is no more when its server is closed, and none is made beyond the budget', async () => {
    await lab.close()
    assert.deepEqual(await poolVms(lab), [])
    lab = await openLab({ templates: [SIZE], pool: { budgetBytes: 100 * MIB, overlayBytes: OVERLAY_BYTES }, log })
    await waiting(1)
    const spec = lab.spec()
    assert.equal((await lab.host.start(spec)).how, 'pool')
    await lab.host.destroy(refOf(spec))
    await waiting(1)
    assert.equal((await poolVms(lab)).length, 1)
  })

  it('has run nothing where the pool is to hold such, and becomes an instance all the same', async () => {
    await lab.close()
    lab = await openLab({ templates: [SIZE], pool: { budgetBytes: 1024 * MIB, overlayBytes: OVERLAY_BYTES, rehearses: false }, log })
    const seen = new Set<string>()
    for (let index = 0; index < 2; index += 1) {
      await waiting(1)
      const spec = lab.spec({ hostname: `first-${index}` })
      assert.equal((await lab.host.start(spec)).how, 'template')
      const { network } = spec
      assert.ok(network !== null)
      const said = await shell(lab.host, spec, 'hostname; cat /sys/class/net/eth0/address; ip -4 -o addr show eth0; cat /sys/block/vdb/size')
      assert.match(said, new RegExp(`^first-${index}\n${network.mac}\n.*inet ${network.ip.replaceAll('.', '\\.')}/24.*\n${OVERLAY_BYTES / 512}$`))
      seen.add(await shell(lab.host, spec, 'head -c 16 /dev/urandom | md5sum; cat /proc/sys/kernel/random/uuid'))
      assert.match(await readFile(join(lab.dataDir, 'instances', spec.instanceId, 'server.log'), 'utf8'), /cloned from a template/)
      await lab.host.destroy(refOf(spec))
      assert.deepEqual(await traces(lab, spec.instanceId), [])
    }
    assert.equal(seen.size, 2)
  })

  /** Until so many of the size wait, of any image or of one. */
  async function waiting(count: number, kind: 'general' | 'image' | null = null): Promise<void> {
    await eventually(`${count} VMs in the pool`, async () => {
      const { templates } = await lab.host.facts()
      const wanted = templates.filter(({ memoryBytes, ofImage }) => memoryBytes === SIZE.memoryBytes && (kind === null || ofImage === (kind === 'image')))
      return wanted.reduce((sum, template) => sum + template.waiting, 0) >= count
    }).catch((error: unknown) => {
      throw new Error(`the host said last: ${said.slice(-5).join('; ')}`, { cause: error })
    })
  }
})

describe('the pool of a server', { skip: !isRoot && 'templates need root' }, () => {
  it('is swept by the next server when its own was killed, and one setting turns it off', async () => {
    const first = await startServer({ host: 'qemu', env: { BERTH_POOL: 'yes' } })
    let second: TestServer | null = null
    try {
      await served(first, 2)
      await first.kill()
      const left = await serverVms(first.dataDir)
      assert.ok(left.length >= 2, 'VMs outlive a server that is killed')
      second = await startServer({ host: 'qemu', dataDir: first.dataDir, env: { BERTH_POOL: 'no' } })
      const now = await serverVms(first.dataDir)
      assert.deepEqual(now.filter((pid) => left.includes(pid)), [])
      assert.deepEqual(await readdir(join(first.dataDir, 'instances')), [])
      await eventuallyServed('the template', async () => ((await templatesOf(second)).some(({ state }) => state === 'ready') ? true : null))
      assert.ok((await templatesOf(second)).every(({ waiting }) => waiting === 0))
    } finally {
      await second?.stop()
      await rm(first.dataDir, { recursive: true, force: true })
    }
  })

  async function served(server: TestServer, count: number): Promise<void> {
    await eventuallyServed(`${count} VMs in the pool`, async () => ((await templatesOf(server)).reduce((sum, { waiting }) => sum + waiting, 0) >= count ? true : null), 120_000)
  }
})

interface ServedTemplate {
  readonly state: string
  readonly waiting: number
}

async function templatesOf(server: TestServer | null): Promise<readonly ServedTemplate[]> {
  const { body } = (await server?.request('GET', '/berth/v1/host')) ?? { body: { templates: [] } }
  return (body as { readonly templates: readonly ServedTemplate[] }).templates
}

/** As an operator's hand, or a tool that tidies up, would. */
async function removeTapOf(lab: Lab, id: string): Promise<void> {
  await runCommand('ip', ['link', 'delete', 'dev', tapName(lab.bridgeName, id)])
}

/** QEMUs that work below a directory, by the name they were given. */
async function qemusBelow(directory: string): Promise<{ readonly pid: number; readonly id: string }[]> {
  const found: { pid: number; id: string }[] = []
  for (const name of await readdir('/proc')) {
    const command = /^\d+$/.test(name) ? await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '') : ''
    const id = /guest=([0-9a-f-]{36})/.exec(command)?.[1]
    if (command.startsWith('qemu-system') && command.includes(`${directory}/`) && id !== undefined) found.push({ pid: Number(name), id })
  }
  return found
}

/** Those of a lab that wait: their directories have no record. */
async function poolVms(lab: Lab): Promise<{ readonly pid: number; readonly id: string }[]> {
  const all = await qemusBelow(lab.dataDir)
  return all.filter(({ id }) => existsSync(join(lab.dataDir, 'instances', id)) && !existsSync(join(lab.dataDir, 'instances', id, 'vm.json')))
}

async function pidsOf(lab: Lab, id: string): Promise<number[]> {
  return (await qemusBelow(lab.dataDir)).filter((vm) => vm.id === id).map(({ pid }) => pid)
}

async function serverVms(dataDir: string): Promise<number[]> {
  return (await qemusBelow(dataDir)).map(({ pid }) => pid)
}
