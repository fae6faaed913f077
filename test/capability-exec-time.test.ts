/** S11's time of a command whose connection comes to nothing. Alone here: its clock is not the machine's. */
import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { callExec } from '../src/capability/exec-call.ts'
import { readExec } from '../src/capability/exec-input.ts'

test('an exec whose connection comes to nothing has its own time and 5 s', async (t) => {
  const silent = createServer((socket) => void socket.on('error', () => undefined).resume())
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  const { port } = silent.address() as AddressInfo
  t.mock.timers.enable({ apis: ['setTimeout'] })
  try {
    const request = readExec({ id: 'i', command: ['x'], timeout_ms: 700 })
    const credential = { token: null, headers: {}, query: [] }
    let end: string | null = null
    const over = callExec(request, { url: new URL(`http://127.0.0.1:${port}`), credential, timeouts: { connectMs: 60_000, totalMs: 60_000 }, signal: null }).catch((error: unknown) => void (end = (error as { code: string; message: string }).message))
    t.mock.timers.tick(700 + 4999)
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(end, null)
    t.mock.timers.tick(1)
    await over
    assert.match(end ?? '', /did not run the command within 5700 ms/)
  } finally {
    t.mock.timers.reset()
    await new Promise((resolve) => silent.close(resolve))
  }
})
