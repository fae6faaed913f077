import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import { after, test } from 'node:test'
import type { Instance } from '../../instance/model.ts'
import type { Core } from '../core.ts'
import { Activity } from './activity.ts'
import { Doors } from './doors.ts'

/** More than the system keeps on the way. */
const MUCH_BYTES = 32 * 1024 * 1024
const servers: Server[] = []
const activity = new Activity(() => 0)
const doors = new Doors({ logger: { debug: () => undefined } } as unknown as Core, activity)
const instance = { id: 'i', address: { ip: '127.0.0.1' } } as unknown as Instance
after(() => {
  doors.close()
  for (const server of servers) server.close()
})

/** A connection through a door to a program of the guest. */
async function reach(program: (socket: Socket) => void): Promise<Socket> {
  const guest = createServer({ allowHalfOpen: true }, socket => program(socket.on('error', () => undefined)))
  guest.listen(0, '127.0.0.1')
  await once(guest, 'listening')
  const door = await doors.open(null, (guest.address() as AddressInfo).port, async () => instance)
  servers.push(guest, door.server)
  return connect({ host: '127.0.0.1', port: door.publicPort, allowHalfOpen: true })
}

test('a client that has said all gets its answer, and the guest all that it said', async () => {
  const client = await reach(socket => {
    let size = 0
    socket.on('data', chunk => (size += chunk.length)).on('end', () => socket.end(`got ${size}`))
  })
  client.end(Buffer.alloc(MUCH_BYTES))
  let answer = ''
  for await (const chunk of client) answer += String(chunk)
  assert.equal(answer, `got ${MUCH_BYTES}`)
})

test('a connection that breaks on one side breaks on the other, and is no use any more', async () => {
  const left = Promise.withResolvers<void>()
  const client = await reach(socket => {
    socket.write('hello')
    socket.resume().on('end', () => socket.end()).on('close', () => left.resolve())
  })
  await once(client, 'data')
  assert.deepEqual([doors.openTo(instance.id), activity.idleSince(instance.id)], [1, null])
  client.resetAndDestroy()
  await left.promise
  const broken = await reach(socket => socket.once('data', () => socket.resetAndDestroy()))
  broken.on('error', () => undefined).on('end', () => broken.end()).resume()
  broken.write('x')
  await once(broken, 'close')
  while (doors.openTo(instance.id) > 0) await new Promise(resolve => setImmediate(resolve))
})
