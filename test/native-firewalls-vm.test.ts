/**
 * Firewall rulesets of the native API on real VMs: what is attached really lets in what it says and nothing else, from the
 * host as from another guest, at once, while the instance runs, and again after it was stopped and after another server.
 */
import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FirewallBody } from '../src/dialects/native/schema/firewalls.ts'
import type { InstanceBody } from '../src/dialects/native/schema/instances.ts'
import { makeNativeClient, type NativeClient } from './support/native-client.ts'
import { eventually, startServer, type TestServer } from './support/server.ts'

/** How long one that must not get through knocks; what may get through was proved just before. */
const KNOCK_MS = 1500
const BLOCKED_S = 2
const WAIT_MS = 90_000
const [WEB, OTHER, DATAGRAMS] = [8000, 8001, 9000]
const SERVE = `mkdir -p /www && echo served >/www/index.html && httpd -p ${WEB} -h /www && httpd -p ${OTHER} -h /www && exec sleep 1000000`
const isRoot = process.getuid?.() === 0

interface Running {
  readonly id: string
  readonly ip: string
}

describe('a firewall', { skip: isRoot ? false : 'firewalls need root' }, () => {
  let dataDir = ''
  let server: TestServer
  let api: NativeClient
  let web: Running
  let peer: Running
  before(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'bt-'))
    chmodSync(dataDir, 0o711)
    await open()
    await api.ok(200, 'PATCH', '/projects/default', { body: { guestToGuest: true } })
    await api.ok(200, 'PUT', '/firewall-rules', { body: { rules: [] } })
    web = await launch('web', SERVE)
    peer = await launch('peer', 'exec sleep 1000000')
    await opens(WEB)
    await opens(OTHER)
  })
  after(async () => {
    await server.stop()
    rmSync(dataDir, { recursive: true, force: true })
  })

  test('is none where none is attached: every port is open, also to other guests', async () => {
    assert.ok(await echoes())
    assert.ok(await fromPeer(WEB))
    assert.ok(await pings())
  })

  test('of the global rules alone, of which there are none, lets nothing in, and everything out and back', async () => {
    await attach([])
    for (const port of [WEB, OTHER]) assert.equal(await knocks(port), false, `port ${port}`)
    assert.equal(await echoes(KNOCK_MS), false)
    assert.equal(await fromPeer(WEB, BLOCKED_S), false)
    assert.equal(await pings(BLOCKED_S), false)
    assert.match(await run(web, `ping -c 1 -W 20 ${peer.ip}`), / 0% packet loss/)
  })

  test('opens the ports of its rules and no others, at once when a rule is added or taken away', async () => {
    const rules = (ports: readonly number[]) => ports.map((port) => ({ protocol: 'tcp' as const, ports: [port, port] }))
    const { id } = await make('ports', rules([WEB]))
    await attach([id])
    await opens(WEB)
    assert.equal(await knocks(OTHER), false)
    await api.ok(200, 'PATCH', `/firewalls/${id}`, { body: { rules: rules([OTHER]) } })
    await opens(OTHER)
    assert.equal(await knocks(WEB), false)
    assert.equal(await echoes(KNOCK_MS), false)
    await api.ok(200, 'PATCH', `/firewalls/${id}`, { body: { rules: [{ protocol: 'udp', ports: [DATAGRAMS - 5, DATAGRAMS + 5] }, { protocol: 'icmp' }] } })
    assert.ok(await echoes())
    assert.ok(await pings())
    for (const port of [WEB, OTHER]) assert.equal(await knocks(port), false, `port ${port}`)
  })

  test('tells sources apart: one guest comes in, and the host does not', async () => {
    const { id } = await make('sources', [{ protocol: 'tcp', ports: [WEB, WEB], source: peer.ip }])
    await attach([id])
    assert.ok(await fromPeer(WEB))
    assert.equal(await knocks(WEB), false)
    assert.equal(await fromPeer(OTHER, BLOCKED_S), false)
  })

  test('of several rulesets lets in what any of them does; one that is detached no longer counts', async () => {
    const [one, other] = [await make('one', [{ protocol: 'tcp', ports: [WEB, WEB] }]), await make('other', [{ protocol: 'tcp', ports: [OTHER, OTHER] }])]
    await attach([one.id, other.id])
    await opens(WEB)
    await opens(OTHER)
    await api.ok(200, 'DELETE', `/instances/${web.id}/firewalls/${other.id}`)
    await opens(WEB)
    assert.equal(await knocks(OTHER), false)
  })

  test('holds in the next life of the instance, and under the next server', async () => {
    await api.ok(200, 'POST', `/instances/${web.id}/stop?wait=true&timeoutMs=${WAIT_MS}`)
    await api.ok(200, 'POST', `/instances/${web.id}/start?wait=true&timeoutMs=${WAIT_MS}`)
    await opens(WEB)
    assert.equal(await knocks(OTHER), false)
    await server.kill()
    await open()
    await opens(WEB)
    assert.equal(await knocks(OTHER), false)
    await api.ok(200, 'PUT', `/instances/${web.id}/firewalls`, { body: { firewalls: null } })
    await opens(OTHER)
  })

  async function open(): Promise<void> {
    server = await startServer({ host: 'qemu', dataDir })
    api = await makeNativeClient(server)
  }

  async function launch(name: string, script: string): Promise<Running> {
    const body = { name, image: 'localhost/busybox', pull: 'missing', cmd: ['sh', '-c', script] }
    const { id, network } = await api.ok<InstanceBody>(201, 'POST', `/instances?wait=running&timeoutMs=${WAIT_MS}`, { body })
    assert.ok(typeof network?.ip === 'string')
    return { id, ip: network.ip }
  }

  const make = (name: string, rules: readonly object[]) => api.ok<FirewallBody>(201, 'POST', '/firewalls', { body: { name, rules } })
  const attach = (firewalls: readonly string[]) => api.ok(200, 'PUT', `/instances/${web.id}/firewalls`, { body: { firewalls } })

  /** A port that must take a connection from the host, however busy the machine is. */
  async function opens(port: number): Promise<void> {
    await eventually(`port ${port} takes a connection`, async () => ((await knocks(port)) ? true : null), WAIT_MS)
  }

  async function knocks(port: number): Promise<boolean> {
    const socket = connect({ host: web.ip, port })
    try {
      return await new Promise<boolean>((resolve) => {
        socket.once('connect', () => resolve(true))
        socket.once('error', () => resolve(false))
        setTimeout(() => resolve(false), KNOCK_MS)
      })
    } finally {
      socket.destroy()
    }
  }

  /** Whether a datagram from the host gets in: nobody listens there, which the guest then says. */
  async function echoes(limitMs = WAIT_MS): Promise<boolean> {
    const socket = createSocket('udp4')
    const refused = new Promise<boolean>((resolve) => socket.on('error', () => resolve(true)))
    socket.connect(DATAGRAMS, web.ip)
    await once(socket, 'connect')
    const send = () => socket.send('x', () => undefined)
    const again = setInterval(send, 300)
    try {
      send()
      return await Promise.race([refused, sleep(limitMs, false, { ref: false })])
    } finally {
      clearInterval(again)
      socket.close()
    }
  }

  async function fromPeer(port: number, seconds = 20): Promise<boolean> {
    return (await run(peer, `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 30 nc -w ${seconds} ${web.ip} ${port} || true`)).includes('served')
  }

  async function pings(seconds = 20): Promise<boolean> {
    return (await run(peer, `ping -c 1 -W ${seconds} ${web.ip} || true`)).includes('bytes from')
  }

  async function run(instance: Running, script: string): Promise<string> {
    const { stdout, stderr, end } = await api.exec(instance.id, { command: ['sh', '-c', script] })
    assert.equal(end['code'], 0, `${script}: ${stderr.toString()} ${JSON.stringify(end)}`)
    return stdout.toString()
  }
})
