/** Health checks among the connections of a machine, with real sockets. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { after, before, test } from 'node:test'
import { Checks } from './checks.ts'

const server = createServer()
before(async () => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
})
after(() => server.close())

test('a check is known while it begins, by its own port from then on, and forgotten once the kernel has forgotten it', async () => {
  let now = 1000
  const checks = new Checks(() => now)
  const { port } = server.address() as AddressInfo
  const address = '127.0.0.1'
  const socket = connect(port, address)
  checks.follow(address, port, socket)
  assert.ok(checks.isCheck({ address, port, sourcePort: 1 }), 'whichever port it has, while that is not known')
  await once(socket, 'connect')
  await new Promise(setImmediate)
  const sourcePort = socket.localPort ?? 0
  assert.deepEqual([checks.isCheck({ address, port, sourcePort }), checks.isCheck({ address, port, sourcePort: sourcePort + 1 }), checks.isCheck({ address: '127.0.0.2', port, sourcePort })], [true, false, false])
  socket.destroy()
  await once(socket, 'close')
  now += 179_000
  assert.ok(checks.isCheck({ address, port, sourcePort }), 'the kernel tells it for minutes after its end')
  now += 2000
  assert.equal(checks.isCheck({ address, port, sourcePort }), false)
})

test('one that never connected is no check any more', async () => {
  const checks = new Checks()
  const closed = createServer().listen(0, '127.0.0.1')
  await once(closed, 'listening')
  const { port } = closed.address() as AddressInfo
  closed.close()
  await once(closed, 'close')
  const socket = connect(port, '127.0.0.1')
  checks.follow('127.0.0.1', port, socket)
  await assert.rejects(once(socket, 'connect'))
  if (!socket.closed) await once(socket, 'close')
  await new Promise(setImmediate)
  assert.equal(checks.isCheck({ address: '127.0.0.1', port, sourcePort: 1 }), false)
})
