/** Test files that fail, throw or are interrupted leave nothing on the machine: run on purpose, and looked at. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { isRoot } from './host-lab.ts'
import { footprint } from './support/footprint.ts'
import { owe, paid } from './support/left-behind.ts'
import { eventually } from './support/server.ts'

const FIXTURE = join(import.meta.dirname, 'fixtures', 'left-behind', 'fails.ts')
const PATIENCE_MS = 180_000

interface Left {
  readonly dataDir: string
  readonly bridgeName: string | null
}

describe('a test file', { skip: !isRoot && 'what it could leave needs root' }, () => {
  it('that throws in `before` leaves no server, VM, interface or directory', async () => {
    const { left, status } = await run('server', null)
    assert.equal(status, 1)
    assert.deepEqual(footprint(left, []), [])
  })

  it('that throws in `before` leaves no host that it opened itself', async () => {
    const { left, status } = await run('lab', null)
    assert.equal(status, 1)
    assert.deepEqual(footprint(left, []), [])
  })

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    it(`leaves nothing when its runner is ended by ${signal}`, async () => {
      const { left } = await run('interrupted', signal)
      // The runner doesn't wait for the files that it ends.
      await eventually('an empty machine', async () => (footprint(left, []).length === 0 ? true : null), PATIENCE_MS)
    })
  }
})

/** Runs the file as `npm test` does, and interrupts the runner when what can be left is there. */
async function run(fails: string, signal: NodeJS.Signals | null): Promise<{ readonly left: Left; readonly status: number | null }> {
  const child = spawn(process.execPath, ['--test', '--test-reporter=spec', FIXTURE], {
    // Not part of this run: it would report to it.
    env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '', FAILS: fails },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const debt = `runner ${child.pid}`
  owe(debt, async () => void child.kill('SIGKILL'))
  let output = ''
  let left: Left | null = null
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
    const said = /left: (\{.*\})/.exec(output)?.[1]
    if (left !== null || said === undefined) return
    left = JSON.parse(said) as Left
    if (signal !== null) child.kill(signal)
  })
  const [status] = (await once(child, 'close')) as [number | null]
  paid(debt)
  assert.ok(left !== null, output)
  return { left, status }
}
