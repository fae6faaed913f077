/** Health checks against real sockets of this machine. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { createServer as createPlainServer } from 'node:net'
import type { AddressInfo, Server } from 'node:net'
import { after, before, test } from 'node:test'
import type { VmNetwork } from '../../engine/host-port.ts'
import { askPort, doorOf } from './probe.ts'
import type { NetworkProbe } from './probe.ts'

const HTTP: Extract<NetworkProbe, { kind: 'http' }> = { kind: 'http', port: 1, path: '/', scheme: 'http', method: 'GET', headers: {}, expectedStatus: null }
const seen: string[] = []
const web = createServer((request, reply) => {
  seen.push(`${request.method ?? ''} ${request.url ?? ''} ${String(request.headers['x-check'])}`)
  reply.statusCode = Number(request.url?.slice(1)) || 200
  reply.end('x'.repeat(100_000))
})
/** Takes connections and says nothing. */
const mute = createPlainServer()
const door = (server: Server) => ({ host: '127.0.0.1', port: (server.address() as AddressInfo).port })

before(async () => {
  for (const server of [web, mute]) {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
  }
})
after(() => {
  web.closeAllConnections()
  web.close()
  mute.close()
})

test('a port that takes a connection passes, one that does not says why', async () => {
  assert.deepEqual(await askPort(door(mute), { kind: 'tcp', port: 1 }, 5000), { kind: 'passed' })
  const closed = createPlainServer().listen(0, '127.0.0.1')
  await once(closed, 'listening')
  const gone = door(closed)
  closed.close()
  await once(closed, 'close')
  const refused = await askPort(gone, { kind: 'tcp', port: 1 }, 5000)
  assert.ok(refused.kind === 'failed' && /ECONNREFUSED/.test(refused.reason))
})

test('an HTTP check asks as it is told, and judges the status', async () => {
  assert.deepEqual(await askPort(door(web), { ...HTTP, path: '/204', method: 'HEAD', headers: { 'x-check': 'yes' } }, 5000), { kind: 'passed' })
  assert.deepEqual(seen.at(-1), 'HEAD /204 yes')
  assert.deepEqual(await askPort(door(web), { ...HTTP, path: '/302' }, 5000), { kind: 'passed' })
  assert.deepEqual(await askPort(door(web), { ...HTTP, path: '/503' }, 5000), { kind: 'failed', reason: 'GET /503 answered 503' })
  assert.deepEqual(await askPort(door(web), { ...HTTP, path: '/201', expectedStatus: 200 }, 5000), { kind: 'failed', reason: 'GET /201 answered 201' })
})

test('whoever takes the connection and says nothing fails at the time limit', async () => {
  assert.deepEqual(await askPort(door(mute), HTTP, 50), { kind: 'failed', reason: 'no answer within 50 ms' })
})

test('guests are asked at their address on a bridge, through a published port without one, and else not at all', () => {
  const network: VmNetwork = {
    ip: '10.0.0.2', mac: '02:00:00:00:00:01', network: 'default', downloadBytesPerSecond: null, uploadBytesPerSecond: null,
    ports: [{ hostPort: 8080, guestPort: 80, protocol: 'tcp' }], peerGroup: null,
  }
  assert.deepEqual(doorOf(network, 80, 'bridge'), { host: '10.0.0.2', port: 80 })
  assert.deepEqual(doorOf(network, 80, 'user'), { host: '127.0.0.1', port: 8080 })
  assert.equal(doorOf(network, 81, 'user'), null)
  assert.equal(doorOf(null, 80, 'bridge'), null)
})
