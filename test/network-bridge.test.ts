/**
 * The bridge network with real packets: namespaces are the guests, on real taps, and the outside world.
 */
import assert from 'node:assert/strict'
import { readdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { macOf } from '../src/instance/address.ts'
import { BerthError } from '../src/instance/errors.ts'
import type { ErrorCode } from '../src/instance/errors.ts'
import { runCommand } from '../src/host/command.ts'
import { tapPrefix } from '../src/host/network/names.ts'
import { openNetwork } from '../src/host/network/network.ts'
import type { Network } from '../src/host/network/network.ts'
import { expectBlocked, inside, nodeIn, openLab, pings, reach, serve, startNode, tapOf } from './network-lab.ts'
import type { Guest, Lab } from './network-lab.ts'

const isRoot = process.geteuid?.() === 0
const failsWith = (code: ErrorCode, words: RegExp) => (error: unknown) => error instanceof BerthError && error.code === code && words.test(error.message)

describe('the bridge network', { skip: isRoot ? false : 'needs root' }, () => {
  let lab: Lab
  let network: Network
  const cleanups: (() => Promise<void>)[] = []
  const open = () => openNetwork({ mode: 'bridge', subnet: lab.subnet, bridgeName: lab.bridge, owner: lab.name, dns: ['192.0.2.53'] })
  const serving = async (...args: Parameters<typeof serve>) => {
    cleanups.push(await serve(...args))
  }

  before(async () => {
    lab = await openLab(1)
    network = await open()
    await network.ensure()
  })
  after(async () => {
    for (const clean of cleanups) await clean()
    await network.teardown()
    await lab.close()
  })

  it('says what it is', () => {
    const facts = network.facts()
    assert.equal(facts.mode, 'bridge')
    assert.equal(facts.subnet, lab.subnet)
    assert.deepEqual(facts.dns, ['192.0.2.53'])
  })

  describe('a guest alone', () => {
    let guest: Guest
    before(async () => {
      guest = await lab.guest(network, 0)
      await serving(lab.outside, 'tcp', 7001)
      await serving(lab.outside, 'udp', 7001)
      await serving(guest.space, 'tcp', 7002)
      await serving(guest.space, 'udp', 7002)
      await serving(null, 'tcp', await hostPort())
    })

    it('reaches the outside world over TCP and UDP, and appears there as the host', async () => {
      assert.equal(await reach(guest.space, 'tcp', lab.outsideIp, 7001), lab.hostIp)
      assert.equal(await reach(guest.space, 'udp', lab.outsideIp, 7001), lab.hostIp)
    })

    it('is reached by the host, but not by the outside, even with a route to it', async () => {
      assert.equal(await reach(null, 'tcp', guest.ip, 7002), network.facts().gateway)
      assert.equal(await reach(null, 'udp', guest.ip, 7002), network.facts().gateway)
      await inside(lab.outside, 'ip', 'route', 'replace', lab.subnet, 'via', lab.hostIp)
      await expectBlocked(lab.outside, 'tcp', guest.ip, 7002)
      await expectBlocked(lab.outside, 'udp', guest.ip, 7002)
    })

    it('may ping the gateway and use nothing else of the host, at none of its addresses', async () => {
      const port = await hostPort()
      assert.equal(await reach(lab.outside, 'tcp', lab.hostIp, port), lab.outsideIp, 'the service is there')
      await expectBlocked(guest.space, 'tcp', network.facts().gateway, port)
      await expectBlocked(guest.space, 'tcp', lab.hostIp, port)
      await inside(guest.space, 'ip', 'route', 'add', '127.77.0.0/16', 'via', network.facts().gateway)
      await expectBlocked(guest.space, 'tcp', '127.77.0.1', port)
      assert.equal(await pings(guest.space, network.facts().gateway, true), true)
      assert.equal(await pings(guest.space, lab.hostIp, false), false)
    })

    it('can’t reach link-local addresses, where clouds keep their metadata', async () => {
      await inside(lab.outside, 'ip', 'address', 'add', '169.254.169.254/32', 'dev', 'lo')
      await runCommand('ip', ['route', 'add', '169.254.169.254/32', 'via', lab.outsideIp])
      try {
        assert.match(await reach(null, 'tcp', '169.254.169.254', 7001), /^198\.18\./, 'the host reaches it')
        await expectBlocked(guest.space, 'tcp', '169.254.169.254', 7001)
      } finally {
        await runCommand('ip', ['route', 'delete', '169.254.169.254/32'])
      }
    })

    it('is dropped when it takes another address or another MAC, and heard again with its own', async () => {
      const stolen = lab.ip(200)
      await setAddress(guest, stolen)
      assert.equal(await pings(guest.space, network.facts().gateway, false), false)
      await expectBlocked(guest.space, 'tcp', lab.outsideIp, 7001)
      assert.doesNotMatch(await runCommand('ip', ['neighbour', 'show', 'to', stolen, 'dev', lab.bridge]), /lladdr/, 'its ARP was believed')
      await setAddress(guest, guest.ip)
      assert.equal(await reach(guest.space, 'tcp', lab.outsideIp, 7001), lab.hostIp)

      await setMac(guest, macOf(stolen))
      await expectBlocked(guest.space, 'tcp', lab.outsideIp, 7001)
      await setMac(guest, macOf(guest.ip))
      assert.equal(await reach(guest.space, 'tcp', lab.outsideIp, 7001), lab.hostIp)
    })

    it('is counted, from its own point of view', async () => {
      const counted = await network.counters(guest.instanceId)
      assert.ok(counted !== null && counted.rxBytes > 0 && counted.txBytes > 0)
      assert.equal(await network.counters(lab.request(240).instanceId), null)
    })
  })

  describe('two guests', () => {
    let one: Guest
    let two: Guest
    before(async () => {
      one = await lab.guest(network, 1)
      two = await lab.guest(network, 2)
      await serving(two.space, 'tcp', 7010)
    })

    it('can’t reach one another, neither over the wire nor through the gateway', async () => {
      await expectBlocked(one.space, 'tcp', two.ip, 7010)
      await one.run('ip', 'route', 'add', `${two.ip}/32`, 'via', network.facts().gateway)
      await two.run('ip', 'route', 'add', `${one.ip}/32`, 'via', network.facts().gateway)
      await expectBlocked(one.space, 'tcp', two.ip, 7010)
      await one.run('ip', 'route', 'delete', `${two.ip}/32`)
      await two.run('ip', 'route', 'delete', `${one.ip}/32`)
    })

    for (const filtered of [true, false]) {
      it(`reach one another in one group${filtered ? ', also where the kernel passes bridged frames to iptables' : ''}, and not in two`, async () => {
        await writeFile(`/sys/class/net/${lab.bridge}/bridge/nf_call_iptables`, filtered ? '1' : '0').catch((error: unknown) => {
          // A kernel without br_netfilter has no such switch and never filters.
          if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
        })
        await network.plug(lab.request(1, { peerGroup: 'project one' }))
        await network.plug(lab.request(2, { peerGroup: 'project one' }))
        assert.equal(await reach(one.space, 'tcp', two.ip, 7010), one.ip)
        await network.plug(lab.request(2, { peerGroup: 'project two' }))
        await expectBlocked(one.space, 'tcp', two.ip, 7010)
        await network.plug(lab.request(2))
        await expectBlocked(one.space, 'tcp', two.ip, 7010)
      })
    }

    it('speak no IPv6, though they speak IPv4', async () => {
      await network.plug(lab.request(1, { peerGroup: 'six' }))
      await network.plug(lab.request(2, { peerGroup: 'six' }))
      await one.run('ip', 'address', 'add', 'fd73::1/64', 'dev', 'eth0', 'nodad')
      await two.run('ip', 'address', 'add', 'fd73::2/64', 'dev', 'eth0', 'nodad')
      assert.equal(await pings(one.space, two.ip, true), true)
      assert.equal(await pings(one.space, 'fd73::2', false), false)
    })
  })

  describe('published ports', () => {
    let guest: Guest
    let other: Guest
    let port: number
    before(async () => {
      port = await freePort()
      const mapping = { hostPort: port, guestPort: 80 }
      guest = await lab.guest(network, 10, { ports: [{ ...mapping, protocol: 'tcp' }, { ...mapping, protocol: 'udp' }] })
      other = await lab.guest(network, 11)
      await serving(guest.space, 'tcp', 80)
      await serving(guest.space, 'udp', 80)
    })

    for (const protocol of ['tcp', 'udp'] as const) {
      it(`${protocol}: are reached from 127.0.0.1, from the host's own address, and from outside with the client's address kept`, async () => {
        assert.equal(await reach(null, protocol, '127.0.0.1', port), network.facts().gateway)
        await reach(null, protocol, lab.hostIp, port)
        assert.equal(await reach(lab.outside, protocol, lab.hostIp, port), lab.outsideIp)
      })

      it(`${protocol}: other guests reach them through the host's address, and only so`, async () => {
        assert.equal(await reach(other.space, protocol, lab.hostIp, port), network.facts().gateway)
        assert.equal(await reach(other.space, protocol, network.facts().gateway, port), network.facts().gateway)
        await expectBlocked(other.space, protocol, guest.ip, 80)
      })
    }

    it('a port that another instance has, or a program of the host, is in use', async () => {
      await assert.rejects(
        network.plug(lab.request(12, { ports: [{ hostPort: port, guestPort: 1, protocol: 'tcp' }] })),
        failsWith('port_in_use', /another instance/),
      )
      for (const address of ['0.0.0.0', '127.0.0.1', '::']) {
        const server = createServer().listen(0, address)
        await new Promise((resolve) => server.once('listening', resolve))
        const taken = (server.address() as AddressInfo).port
        await assert.rejects(
          network.plug(lab.request(12, { ports: [{ hostPort: taken, guestPort: 1, protocol: 'tcp' }] })),
          failsWith('port_in_use', /another program/),
        )
        await new Promise((resolve) => server.close(resolve))
        assert.doesNotMatch(await ruleset(lab), new RegExp(`\\. ${taken} `))
      }
      await assertAbsent(network, lab, 12)
    })

    it('plugging again keeps everything, and unplugging takes the ports away', async () => {
      const mapping = { hostPort: port, guestPort: 80 }
      const ports = [{ ...mapping, protocol: 'tcp' as const }, { ...mapping, protocol: 'udp' as const }]
      assert.equal(tapOf(await network.plug(lab.request(10, { ports }))), guest.tap)
      await reach(lab.outside, 'tcp', lab.hostIp, port)
      await network.unplug(guest.instanceId)
      await network.unplug(guest.instanceId)
      await expectBlocked(lab.outside, 'tcp', lab.hostIp, port)
      await expectBlocked(null, 'tcp', '127.0.0.1', port)
      await assertAbsent(network, lab, 10)
    })
  })

  describe('bandwidth limits', () => {
    const rate = 1_000_000
    const bytes = 3_000_000
    /** At most a second's worth may pass at once before a limit bites; a tenth is the clocks'. */
    const soonestMs = ((bytes - rate) / rate) * 1000 * 0.9
    let guest: Guest
    before(async () => {
      guest = await lab.guest(network, 20, { downloadBytesPerSecond: rate, uploadBytesPerSecond: rate })
    })

    it('download: 3 MB at 1 MB/s arrive whole and not faster', async () => {
      cleanups.push(await startNode(lab.outside, bulkServer(7020, bytes)))
      const took = await transfer(guest.space, lab.outsideIp, 7020, bytes)
      assert.ok(took >= soonestMs, `took ${took} ms, ${soonestMs} ms is the least`)
    })

    it('upload: 3 MB at 1 MB/s arrive whole and not faster', async () => {
      cleanups.push(await startNode(guest.space, bulkServer(7021, bytes)))
      const took = await transfer(null, guest.ip, 7021, bytes)
      assert.ok(took >= soonestMs, `took ${took} ms, ${soonestMs} ms is the least`)
    })

    it('plugging again without limits lifts them', async () => {
      await network.plug(lab.request(20))
      assert.doesNotMatch(await runCommand('tc', ['qdisc', 'show', 'dev', guest.tap]), /tbf/)
      assert.doesNotMatch(await runCommand('nft', ['list', 'table', 'bridge', lab.bridge]), /limit b/)
    })
  })

  describe('a server that is killed', () => {
    it('leaves rules and taps; the next one takes them over exactly, and sweeps what no instance owns', async () => {
      const port = await freePort()
      const kept = lab.request(30, { uploadBytesPerSecond: 5_000_000, peerGroup: 'crash', ports: [{ hostPort: port, guestPort: 80, protocol: 'udp' }] })
      const keptTap = tapOf(await network.plug(kept))
      const goneTap = tapOf(await network.plug(lab.request(31, { uploadBytesPerSecond: 1024 * 1024, downloadBytesPerSecond: 1024 * 1024 })))
      const before = await ruleset(lab)

      const next = await open()
      await next.ensure()
      assert.equal(await ruleset(lab), before)
      await assert.rejects(next.plug(lab.request(32, { ports: kept.ports })), failsWith('port_in_use', /another instance/))

      const living = [0, 1, 2, 11, 20, 30].map((index) => lab.request(index).instanceId)
      assert.deepEqual(await next.sweep(living), [goneTap])
      assert.ok((await readdir('/sys/class/net')).includes(keptTap))
      await assertAbsent(next, lab, 31)
      assert.deepEqual(await next.sweep(living), [])
      await network.ensure()
      await next.unplug(kept.instanceId)
      await network.unplug(kept.instanceId)
      await network.unplug(lab.request(31).instanceId)
    })

    it('repairs rules that somebody flushed', async () => {
      const guest = await lab.guest(network, 40)
      const before = await ruleset(lab)
      await runCommand('nft', ['delete', 'table', 'ip', lab.bridge])
      await runCommand('nft', ['delete', 'table', 'bridge', lab.bridge])
      await network.plug(lab.request(41))
      await network.unplug(lab.request(41).instanceId)
      assert.equal(sorted(await ruleset(lab)), sorted(before))
      await runCommand('nft', ['delete', 'table', 'ip', lab.bridge])
      await network.sweep([0, 1, 2, 11, 20, 40].map((index) => lab.request(index).instanceId))
      assert.equal(sorted(await ruleset(lab)), sorted(before))
      await network.unplug(guest.instanceId)
    })
  })

  it('thirty instances plug at once, and go at once', async () => {
    const requests = Array.from({ length: 30 }, (_, n) => lab.request(100 + n, { peerGroup: `group ${n % 3}` }))
    const taps = await Promise.all(requests.map(async (request) => tapOf(await network.plug(request))))
    assert.equal(new Set(taps).size, 30)
    await Promise.all(requests.map((request) => network.unplug(request.instanceId)))
    for (let n = 0; n < 30; n++) await assertAbsent(network, lab, 100 + n)
  })

  it('refuses a subnet that the host uses otherwise, and names a free one', async () => {
    const taken = await openNetwork({ mode: 'bridge', subnet: lab.subnet, bridgeName: `${lab.name}x`.slice(0, 15) })
    await assert.rejects(taken.ensure(), failsWith('host_unavailable', /overlaps the route .*BERTH_SUBNET.* for instance /))
    assert.ok(!(await readdir('/sys/class/net')).includes(`${lab.name}x`))
  })

  it('refuses a bridge that carries another Berth’s instances', async () => {
    const other = await openNetwork({ mode: 'bridge', subnet: lab.subnet, bridgeName: lab.bridge, owner: 'somebody else' })
    await assert.rejects(other.ensure(), failsWith('host_unavailable', /another Berth/))
  })

  it('refuses what can’t be a plug', async () => {
    for (const wrong of [{ ip: '10.0.0.1' }, { ip: network.facts().gateway }, { mac: 'x" }' }, { instanceId: 'a b' as never }, { uploadBytesPerSecond: 0 }, { ports: [{ hostPort: 0, guestPort: 1, protocol: 'tcp' as const }] }]) {
      await assert.rejects(network.plug(lab.request(60, wrong)), failsWith('invalid_request', /\.$/))
    }
  })

  it('leaves nothing behind', async () => {
    await network.teardown()
    await network.teardown()
    const names = await readdir('/sys/class/net')
    assert.ok(!names.includes(lab.bridge))
    assert.deepEqual(names.filter((name) => name.startsWith(tapPrefix(lab.bridge))), [])
    assert.doesNotMatch(await runCommand('nft', ['list', 'tables']), new RegExp(` ${lab.bridge}$`, 'm'))
  })

  let servicePort: number | null = null
  async function hostPort(): Promise<number> {
    servicePort ??= await freePort()
    return servicePort
  }
})

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '0.0.0.0')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

async function setAddress(guest: Guest, ip: string): Promise<void> {
  await guest.run('ip', 'address', 'flush', 'dev', 'eth0', 'scope', 'global')
  await guest.run('ip', 'address', 'add', `${ip}/16`, 'dev', 'eth0')
  await guest.run('ip', 'route', 'replace', 'default', 'via', gatewayFor(guest))
}

async function setMac(guest: Guest, mac: string): Promise<void> {
  await guest.run('ip', 'link', 'set', 'eth0', 'address', mac)
  await guest.run('ip', 'route', 'replace', 'default', 'via', gatewayFor(guest))
}

function gatewayFor(guest: Guest): string {
  return guest.ip.replace(/\.\d+\.\d+$/, '.0.1')
}

async function ruleset(lab: Lab): Promise<string> {
  const [bridge, ip] = await Promise.all([runCommand('nft', ['list', 'table', 'bridge', lab.bridge]), runCommand('nft', ['list', 'table', 'ip', lab.bridge])])
  return bridge + ip
}

/** Elements of a set come in any order. */
function sorted(text: string): string {
  return text.split(/[\n,]/).map((line) => line.replace('elements = {', '').replace('}', '').trim()).toSorted().join('\n')
}

async function assertAbsent(network: Network, lab: Lab, index: number): Promise<void> {
  assert.equal(await network.counters(lab.request(index).instanceId), null, 'the tap is there')
  assert.ok(!(await ruleset(lab)).includes(`${lab.ip(index)} `), 'an element is there')
}

/** Sends `bytes` to each client, then ends. */
function bulkServer(port: number, bytes: number): string {
  return `require('net').createServer(s => { s.on('error', () => {}); s.end(Buffer.alloc(${bytes})) }).listen(${port}, '0.0.0.0', () => console.log('ready'))`
}

/** How long a client in `space` takes to receive it all, in ms; throws if less arrives. */
async function transfer(space: string | null, host: string, port: number, bytes: number): Promise<number> {
  const [tool, args] = nodeIn(
    space,
    `let got = 0; const start = performance.now()
     const s = require('net').connect({ host: '${host}', port: ${port} })
     s.on('data', (d) => { got += d.length })
     s.on('end', () => { console.log(JSON.stringify({ got, ms: performance.now() - start })); process.exit(0) })
     s.on('error', (e) => { console.error(e.message); process.exit(1) })`,
  )
  const result: unknown = JSON.parse(await runCommand(tool, args, { timeoutMs: 120_000 }))
  assert.ok(typeof result === 'object' && result !== null && 'got' in result && 'ms' in result)
  assert.equal(result.got, bytes)
  return Number(result.ms)
}
