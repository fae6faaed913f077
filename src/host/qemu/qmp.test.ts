import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { BerthError } from '../../instance/errors.ts'
import { MAX_LINE_BYTES, QmpClient, QmpRefusal } from './qmp.ts'

const GREETING = '{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": "Debian"}, "capabilities": []}}\n'

describe('QmpClient', () => {
  let dir = ''
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'berth-qmp-'))
  })
  after(() => rm(dir, { recursive: true, force: true }))

  /** A peer that speaks the protocol's form; `answer` says what to each command. */
  async function withPeer(
    name: string,
    answer: (command: { readonly execute: string; readonly id: number }, socket: Socket) => void,
    work: (client: QmpClient) => Promise<void>,
  ): Promise<void> {
    const path = join(dir, name)
    const server: Server = createServer((socket) => {
      socket.write(GREETING)
      let rest = ''
      socket.on('data', (chunk) => {
        const lines = (rest + chunk.toString()).split('\n')
        rest = lines.pop() ?? ''
        for (const line of lines) {
          const command = JSON.parse(line)
          if (command.execute === 'qmp_capabilities') socket.write(`{"return": {}, "id": ${command.id}}\n`)
          else answer(command, socket)
        }
      })
      socket.on('error', () => undefined)
    })
    await new Promise<void>((resolve) => server.listen(path, resolve))
    const client = await QmpClient.connect(path, { timeoutMs: 5_000 })
    try {
      await work(client)
    } finally {
      client.close()
      await new Promise((resolve) => server.close(resolve))
    }
  }

  it('says QEMU’s version, and matches answers that come in any order and in any pieces', async () => {
    const held: (() => void)[] = []
    await withPeer(
      'order',
      ({ execute, id }, socket) => {
        held.unshift(() => {
          const text = `{"return": "${execute}", "id": ${id}}\n`
          for (const character of text) socket.write(character)
        })
        if (held.length === 2) for (const send of held) send()
      },
      async (client) => {
        assert.equal(client.version, '7.2.22 (Debian)')
        assert.deepEqual(await Promise.all([client.execute('one'), client.execute('two')]), ['one', 'two'])
      },
    )
  })

  it('turns a refusal into a catalogue error that still knows QEMU’s class', async () => {
    await withPeer(
      'refusal',
      ({ id }, socket) => socket.write(`{"error": {"class": "DeviceNotFound", "desc": "no such device"}, "id": ${id}}\n`),
      async (client) => {
        await assert.rejects(client.execute('device_del'), (error) => {
          assert.ok(error instanceof BerthError && error.cause instanceof QmpRefusal)
          assert.equal(error.cause.class, 'DeviceNotFound')
          return true
        })
      },
    )
  })

  it('waits for events, and no longer than it was told to', async () => {
    await withPeer(
      'events',
      ({ id }, socket) => socket.write(`{"event": "STOP", "timestamp": {}}\n{"event": "MIGRATION", "data": {"status": "completed"}}\n{"return": {}, "id": ${id}}\n`),
      async (client) => {
        const event = client.nextEvent(({ data }) => data['status'] === 'completed', 5_000)
        await client.execute('migrate')
        assert.equal((await event).event, 'MIGRATION')
        await assert.rejects(client.nextEvent(() => true, 10), isCode('timeout'))
        const over = new AbortController()
        const unwanted = client.nextEvent(() => true, 2 ** 31 - 1, over.signal)
        over.abort()
        await assert.rejects(unwanted)
      },
    )
  })

  it('a command that is never answered ends at its deadline; a peer that goes tells all who wait', async () => {
    await withPeer('silence', () => undefined, async (client) => {
      await assert.rejects(client.execute('anything', {}, 20), isCode('timeout'))
    })
    await withPeer('gone', (_command, socket) => socket.destroy(), async (client) => {
      const event = client.nextEvent(() => true, 5_000)
      await Promise.all([assert.rejects(client.execute('quit'), isCode('guest_unreachable')), assert.rejects(event, isCode('guest_unreachable'))])
      await client.closed
      await assert.rejects(client.execute('more'), isCode('guest_unreachable'))
    })
  })

  it('lets go of a peer that speaks nonsense or never ends a line', async () => {
    await withPeer('nonsense', (_command, socket) => socket.write('HTTP/1.1 400 Bad Request\n'), async (client) => {
      await assert.rejects(client.execute('one'), isCode('guest_unreachable'))
    })
    await withPeer('endless', (_command, socket) => socket.write('x'.repeat(MAX_LINE_BYTES + 1)), async (client) => {
      await assert.rejects(client.execute('one'), isCode('guest_unreachable'))
    })
  })

  it('gives up on a socket that never comes, and at once when waiting is pointless', async () => {
    await assert.rejects(QmpClient.connect(join(dir, 'never'), { timeoutMs: 30 }), isCode('timeout'))
    const guard = () => {
      throw new BerthError('internal', 'it ended')
    }
    await assert.rejects(QmpClient.connect(join(dir, 'never'), { timeoutMs: 60_000, guard }), isCode('internal'))
  })
})

function isCode(code: BerthError['code']): (error: unknown) => boolean {
  return (error) => error instanceof BerthError && error.code === code
}
