/** Pings over real WebSockets, at a pace that suits a test. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { after, before, test } from 'node:test'
import { WebSocket, WebSocketServer } from 'ws'
import { FrameSocket, PING_EVERY_MS } from './frame-socket.ts'

const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
before(async () => {
  if (server.address() === null) await once(server, 'listening')
})
after(() => server.close())

async function pair(pingEveryMs: number, autoPong: boolean): Promise<{ readonly client: WebSocket; readonly frames: FrameSocket }> {
  const client = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`, { autoPong })
  const [[socket]] = await Promise.all([once(server, 'connection') as Promise<[WebSocket]>, once(client, 'open')])
  return { client, frames: new FrameSocket(socket, { pingEveryMs }) }
}

test('a client that answers pings stays, and is pinged again and again', async () => {
  assert.ok(PING_EVERY_MS >= 20_000 && PING_EVERY_MS <= 30_000, 'what its clients were made for')
  const { client, frames } = await pair(100, true)
  for (let ping = 0; ping < 3; ping++) await once(client, 'ping')
  assert.equal(frames.gone.aborted, false)
  client.send('still here')
  assert.equal(await frames.nextText(), 'still here')
  frames.close(1000)
  assert.equal((await once(client, 'close'))[0], 1000)
})

test('one that does not answer is gone with the next ping', async () => {
  const { client, frames } = await pair(100, false)
  const pings: unknown[] = []
  client.on('ping', () => pings.push(null))
  assert.equal((await once(client, 'close'))[0], 1006)
  assert.equal(pings.length, 1)
  if (!frames.gone.aborted) await once(frames.gone, 'abort')
  assert.equal(await frames.nextText(), null)
})
