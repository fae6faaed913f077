/** Firewalls of guests with real packets, from every side: the world, the host, other guests; and over restarts. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { FirewallRule } from '../src/instance/model.ts'
import { runCommand } from '../src/host/command.ts'
import { openNetwork } from '../src/host/network/network.ts'
import type { Network } from '../src/host/network/network.ts'
import { expectBlocked, inside, openLab, pings, reach, serve } from './network-lab.ts'
import type { Guest, Lab } from './network-lab.ts'

const isRoot = process.geteuid?.() === 0
const allow = (protocol: FirewallRule['protocol'], ports: FirewallRule['ports'], source = '0.0.0.0/0'): FirewallRule => ({ protocol, ports, source, description: '' })
const OPEN = 7101
const SHUT = 7102
const PUBLISHED = 17_101

describe('firewalls', { skip: isRoot ? false : 'needs root' }, () => {
  let lab: Lab
  let network: Network
  let guarded: Guest
  let friend: Guest
  let stranger: Guest
  const cleanups: (() => Promise<void>)[] = []
  const open = () => openNetwork({ mode: 'bridge', subnet: lab.subnet, bridgeName: lab.bridge, owner: lab.name })
  const restarted = async () => {
    const next = await open()
    await next.ensure()
    return next
  }

  /** What the kernel holds, in whatever order it lists it. */
  const elements = async () => ((await runCommand('nft', ['list', 'table', 'ip', lab.bridge])).match(/[\d.]+ \. [^,{}\n]+?(?= *[,}])/g) ?? []).toSorted()

  before(async () => {
    lab = await openLab(4)
    network = await restarted()
    const ports = [
      { hostPort: PUBLISHED, guestPort: OPEN, protocol: 'tcp' as const },
      { hostPort: PUBLISHED + 1, guestPort: SHUT, protocol: 'tcp' as const },
    ]
    guarded = await lab.guest(network, 0, { peerGroup: 'friends', ports, firewall: [allow('tcp', [OPEN, OPEN])] })
    friend = await lab.guest(network, 1, { peerGroup: 'friends' })
    stranger = await lab.guest(network, 2)
    for (const protocol of ['tcp', 'udp'] as const) {
      cleanups.push(await serve(lab.outside, protocol, OPEN), await serve(friend.space, protocol, OPEN))
      for (const port of [OPEN, SHUT]) cleanups.push(await serve(guarded.space, protocol, port))
    }
  })
  after(async () => {
    for (const clean of cleanups) await clean()
    await network.teardown()
    await lab.close()
  })

  it('let in what a rule says, from the host, the world and other guests, and nothing else', async () => {
    assert.equal(await reach(null, 'tcp', guarded.ip, OPEN), network.facts().gateway)
    assert.equal(await reach(friend.space, 'tcp', guarded.ip, OPEN), friend.ip)
    assert.equal(await reach(lab.outside, 'tcp', lab.hostIp, PUBLISHED), lab.outsideIp)
    assert.equal(await reach(stranger.space, 'tcp', lab.hostIp, PUBLISHED), network.facts().gateway)
    assert.equal(await reach(null, 'tcp', '127.0.0.1', PUBLISHED), network.facts().gateway)
    await Promise.all([
      expectBlocked(null, 'tcp', guarded.ip, SHUT),
      expectBlocked(null, 'udp', guarded.ip, OPEN),
      expectBlocked(null, 'tcp', '127.0.0.1', PUBLISHED + 1),
      expectBlocked(friend.space, 'tcp', guarded.ip, SHUT),
      expectBlocked(friend.space, 'udp', guarded.ip, OPEN),
      expectBlocked(lab.outside, 'tcp', lab.hostIp, PUBLISHED + 1),
      expectBlocked(stranger.space, 'tcp', lab.hostIp, PUBLISHED + 1),
    ])
    assert.equal(await pings(friend.space, guarded.ip, false), false)
  })

  it('let the guest itself reach out, and hear the answers', async () => {
    assert.equal(await reach(guarded.space, 'tcp', lab.outsideIp, OPEN), lab.hostIp)
    assert.equal(await reach(guarded.space, 'udp', lab.outsideIp, OPEN), lab.hostIp)
    assert.equal(await reach(guarded.space, 'tcp', friend.ip, OPEN), guarded.ip)
    assert.equal(await pings(guarded.space, friend.ip, true), true)
    assert.equal(await pings(guarded.space, network.facts().gateway, true), true)
  })

  it('leave guests without one as they were', async () => {
    assert.equal(await reach(null, 'udp', friend.ip, OPEN), network.facts().gateway)
    assert.equal(await pings(guarded.space, friend.ip, true), true)
  })

  it('change at once, and know sources, ranges and protocols', async () => {
    await network.setFirewall(guarded.instanceId, [allow('tcp', [SHUT, SHUT + 5], `${friend.ip}/32`), allow('tcp', [1, 65_535], `${lab.outsideIp}/32`), allow('icmp', null), allow('udp', [OPEN, OPEN])])
    assert.equal(await reach(friend.space, 'tcp', guarded.ip, SHUT), friend.ip)
    assert.equal(await reach(lab.outside, 'tcp', lab.hostIp, PUBLISHED + 1), lab.outsideIp)
    assert.equal(await reach(null, 'udp', guarded.ip, OPEN), network.facts().gateway)
    assert.equal(await pings(friend.space, guarded.ip, true), true)
    await expectBlocked(null, 'tcp', guarded.ip, OPEN)
    await expectBlocked(friend.space, 'tcp', guarded.ip, OPEN)
    await expectBlocked(null, 'tcp', guarded.ip, SHUT)
  })

  it('stand through a restart of the server, with no moment in which they are open', async () => {
    await network.setFirewall(guarded.instanceId, [allow('tcp', [SHUT, SHUT]), allow('all', null, `${friend.ip}/32`)])
    const before = await elements()
    assert.ok(before.length > 5, before.join())
    network = await restarted()
    assert.deepEqual(await elements(), before)
    await expectBlocked(null, 'tcp', guarded.ip, OPEN)
    assert.equal(await reach(null, 'tcp', guarded.ip, SHUT), network.facts().gateway)
    assert.equal(await reach(friend.space, 'udp', guarded.ip, OPEN), friend.ip)
  })

  it('are taken away, and go with their guest', async () => {
    await network.setFirewall(guarded.instanceId, null)
    assert.equal(await reach(null, 'tcp', guarded.ip, OPEN), network.facts().gateway)
    await network.setFirewall(guarded.instanceId, [])
    await expectBlocked(null, 'tcp', guarded.ip, OPEN)
    await guarded.unplugCable()
    await network.unplug(guarded.instanceId)
    assert.doesNotMatch(await runCommand('nft', ['list', 'table', 'ip', lab.bridge]), new RegExp(guarded.ip.replaceAll('.', '\\.')))
  })

  it('a port of the gateway is open to the guest that it is served to, and to no other', async () => {
    const port = 17_150
    cleanups.push(await serve(null, 'tcp', port))
    await expectBlocked(friend.space, 'tcp', network.facts().gateway, port)
    await network.plug(lab.request(1, { peerGroup: 'friends', hostPorts: [port] }))
    network = await restarted()
    assert.equal(await reach(friend.space, 'tcp', network.facts().gateway, port), friend.ip)
    await expectBlocked(stranger.space, 'tcp', network.facts().gateway, port)
    await inside(stranger.space, 'ip', 'address', 'add', `${friend.ip}/16`, 'dev', 'eth0')
    await expectBlocked(stranger.space, 'tcp', network.facts().gateway, port)
  })
})
