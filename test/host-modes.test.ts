/** The host on machines that offer less: KVM that has to be proved, no rights on the network, no user of its own for VMs. */
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { prove, qemuVersion } from '../src/host/qemu/accel.ts'
import { takeArtifacts } from '../src/host/qemu/artifacts.ts'
import { openJail } from '../src/host/qemu/jail.ts'
import { findStrays } from '../src/host/qemu/strays.ts'
import { hostPaths } from '../src/host/paths.ts'
import { exec, GUEST_DIR, openLab, qemusOf, refOf, shell, traces } from './host-lab.ts'

describe('the accelerator', () => {
  it('is proved by a boot that ends in time whatever KVM does, and leaves no process', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'berth-probe-'))
    try {
      const artifacts = await takeArtifacts(GUEST_DIR, join(dir, 'guest'))
      const verdict = await prove({
        verdictPath: join(dir, 'verdict.json'),
        runDir: dir,
        kernelPath: artifacts.kernel,
        initramfsPath: artifacts.initramfs,
        guestVersion: artifacts.version,
        qemuVersion: await qemuVersion(),
        jail: await openJail({ keep: true }),
      })
      assert.match(verdict.reason, verdict.accelerator === 'kvm' ? /came up under KVM/ : /software emulation \(TCG\)/)
      assert.deepEqual(await findStrays({ ...hostPaths(dir, '/run/berth'), run: dir }, []), [])
    } finally {
      await rm(dir, { recursive: true, force: true })
    }
  })

  it('is remembered until the host restarts or something changes', async () => {
    const lab = await openLab({ accelerator: null })
    try {
      const path = join(lab.dataDir, 'host', 'accelerator.json')
      const { accelerator, acceleratorReason } = await lab.host.facts()
      const remembered = JSON.parse(await readFile(path, 'utf8'))
      assert.deepEqual([remembered.accelerator, remembered.reason], [accelerator, acceleratorReason])
      await writeFile(path, JSON.stringify({ ...remembered, accelerator: 'tcg', reason: 'as remembered' }))
      await lab.reopen()
      assert.equal((await lab.host.facts()).acceleratorReason, 'as remembered')
      await writeFile(path, JSON.stringify({ ...remembered, key: 'another boot', reason: 'as remembered' }))
      await lab.reopen()
      assert.equal((await lab.host.facts()).acceleratorReason, acceleratorReason)
    } finally {
      await lab.close()
    }
  })
})

describe('a host without rights on the network', () => {
  it('runs VMs on QEMU’s own network as its own user, says so, and publishes ports', async () => {
    const lab = await openLab({ network: { mode: 'user', subnet: '10.42.0.0/24' }, vmUser: 'same' })
    try {
      const facts = await lab.host.facts()
      assert.equal(facts.network.mode, 'user')
      assert.ok(facts.warnings.some((warning) => /user-mode network/.test(warning)))
      assert.ok(facts.warnings.some((warning) => /own user/.test(warning)))
      const { network } = lab.spec()
      assert.ok(network !== null)
      const hostPort = 20_000 + (process.pid % 20_000)
      const spec = lab.spec({
        network: { ...network, ip: '10.42.0.20', ports: [{ hostPort, guestPort: 7, protocol: 'tcp' }] },
        command: ['sh', '-c', 'while true; do echo hello from the guest | nc -l -p 7; done'],
      })
      await lab.host.start(spec)
      assert.match(await shell(lab.host, spec, 'ip -4 -o addr show eth0'), /10\.42\.0\.20\/24/)
      assert.match(await hearFrom(hostPort), /hello from the guest/)
      await lab.host.suspend(refOf(spec))
      await lab.host.resume(spec)
      assert.equal((await exec(lab.host, spec, ['true'])).code, 0)
      assert.match(await hearFrom(hostPort), /hello from the guest/)
      await lab.host.destroy(refOf(spec))
      assert.deepEqual(await traces(lab, spec.instanceId), [])
      assert.deepEqual(await qemusOf(spec.instanceId), [])
    } finally {
      await lab.close()
    }
  })
})

/** What a published port says; asks until somebody answers. */
async function hearFrom(port: number): Promise<string> {
  for (let tried = 0; tried < 200; tried += 1) {
    const heard = await new Promise<string>((resolve) => {
      let text = ''
      const socket = connect(port, '127.0.0.1')
      const timer = setTimeout(() => socket.destroy(), 5_000)
      socket.on('data', (chunk) => {
        text += chunk.toString()
        socket.end()
      })
      socket.on('error', () => undefined)
      socket.on('close', () => {
        clearTimeout(timer)
        resolve(text)
      })
    })
    if (heard !== '') return heard
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  return ''
}
