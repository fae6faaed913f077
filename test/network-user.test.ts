/** The network without root: what QEMU itself makes of the options that `plug` gives. */
import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { after, describe, it } from 'node:test'
import { macOf } from '../src/instance/address.ts'
import { BerthError } from '../src/instance/errors.ts'
import type { InstanceId } from '../src/instance/model.ts'
import { runCommand } from '../src/host/command.ts'
import { openNetwork } from '../src/host/network/network.ts'

describe('the user-mode network', () => {
  const server = createServer().listen(0, '127.0.0.1')
  after(() => server.close())
  const request = (hostPort: number) => ({
    instanceId: '00000000-0000-4000-8000-000000000001' as InstanceId,
    ip: '10.73.0.10',
    mac: macOf('10.73.0.10'),
    ownerUid: 65534,
    downloadBytesPerSecond: null,
    uploadBytesPerSecond: null,
    ports: [{ hostPort, guestPort: 80, protocol: 'tcp' as const }, { hostPort, guestPort: 53, protocol: 'udp' as const }],
    peerGroup: null,
  })

  it('QEMU takes the options, and forwards the published ports to the instance’s address', async () => {
    const network = await openNetwork({ mode: 'user' })
    await network.ensure()
    const probe = createServer().listen(0, '0.0.0.0')
    await new Promise((resolve) => probe.once('listening', resolve))
    const port = (probe.address() as AddressInfo).port
    await new Promise((resolve) => probe.close(resolve))
    const plug = await network.plug(request(port))
    assert.equal(plug.kind, 'user')
    assert.match(plug.warning, /run Berth as root/)
    const said = await runCommand(
      'qemu-system-x86_64',
      ['-machine', 'none', '-nodefaults', '-display', 'none', '-netdev', `user,id=n0,${plug.options}`, '-monitor', 'stdio'],
      { input: 'info usernet\nquit\n', timeoutMs: 60_000 },
    )
    assert.match(said, new RegExp(`TCP\\[HOST_FORWARD\\].* ${port} +10\\.73\\.0\\.10 +80`))
    assert.match(said, new RegExp(`UDP\\[HOST_FORWARD\\].* ${port} +10\\.73\\.0\\.10 +53`))
    assert.deepEqual(network.facts().dns, ['10.73.0.3'])
    assert.equal(network.facts().warnings.length, 1)
    assert.deepEqual(await network.sweep([]), [])
    assert.equal(await network.counters(request(1).instanceId), null)
    await network.unplug(request(1).instanceId)
    await network.teardown()
  })

  it('a port that a program of the host listens on is in use', async () => {
    const network = await openNetwork({ mode: 'user' })
    await assert.rejects(
      network.plug(request((server.address() as AddressInfo).port)),
      (error) => error instanceof BerthError && error.code === 'port_in_use',
    )
  })

  it('is what an unprivileged user gets, with the reason; asking for the bridge is refused', async () => {
    const script = `import('${new URL('../src/host/network/network.ts', import.meta.url).href}').then(async ({ openNetwork }) => {
      console.log((await openNetwork({})).facts().mode)
      await openNetwork({ mode: 'bridge' }).catch((error) => console.log(error.code + ' ' + error.message))
    })`
    const asNobody = process.geteuid?.() === 0 ? ['setpriv', ['--reuid=65534', '--regid=65534', '--clear-groups', '--bounding-set=-all', '--inh-caps=-all']] as const : ['env', []] as const
    const said = await runCommand(asNobody[0], [...asNobody[1], process.execPath, '-e', script], { timeoutMs: 60_000 })
    assert.match(said, /^user\nhost_unavailable .*needs root/)
  })

  it('none at all is possible too', async () => {
    const network = await openNetwork({ mode: 'none' })
    assert.deepEqual(await network.plug(request(1)), { kind: 'none' })
    assert.equal(network.facts().mode, 'none')
  })
})
