import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { BerthError } from '../instance/errors.ts'
import { CommandFailed } from './command.ts'
import { holdTools, ReadyTool } from './ready-tool.ts'

/** No test waits for it. */
const NEVER_MS = 2 ** 31 - 1
const PATIENCE_MS = 60_000

describe('a tool that is ready', () => {
  const dir = mkdtempSync(join(tmpdir(), 'berth-ready-'))
  after(() => rmSync(dir, { recursive: true }))
  let files = 0

  /** A tool that writes its number down when it starts, then says what it reads. */
  function noting(restMs: number): { readonly tool: ReadyTool; readonly started: () => number[] } {
    const path = join(dir, `started-${(files += 1)}`)
    const read = () => readFileSync(path, { encoding: 'utf8', flag: 'a+' }).split('\n').filter(Boolean).map(Number)
    return { tool: new ReadyTool('sh', ['-c', `echo $$ >> ${path}; cat`], restMs), started: read }
  }

  async function until(what: string, holds: () => boolean): Promise<void> {
    const late = Date.now() + PATIENCE_MS
    while (!holds()) {
      assert.ok(Date.now() < late, what)
      await sleep(5)
    }
  }

  it('gives each input to a process of its own', async () => {
    const { tool, started } = noting(NEVER_MS)
    assert.deepEqual(await Promise.all([tool.run('one'), tool.run('two')]), ['one', 'two'])
    assert.equal(new Set(started()).size, 2)
  })

  it('gives an input to the process that waits, and makes another when it has rested', async () => {
    const { tool, started } = noting(1)
    tool.prepare()
    await until('it has started', () => started().length === 1)
    assert.equal(await tool.run('said'), 'said')
    await until('another has started', () => started().length === 2)
    assert.equal(await tool.run('again'), 'again')
  })

  it('starts another where the one that waited has ended', async () => {
    const { tool, started } = noting(NEVER_MS)
    tool.prepare()
    await until('it has started', () => started().length === 1)
    for (const pid of started()) process.kill(pid, 'SIGKILL')
    await until('its end was seen', () => !tool.isReady)
    assert.equal(await tool.run('said'), 'said')
    assert.equal(started().length, 2)
  })

  it('starts none that waits while somebody is in a hurry', async () => {
    const { tool, started } = noting(1)
    const over = holdTools()
    await tool.run('one')
    await sleep(20)
    assert.equal(started().length, 1)
    over()
    over()
    await until('another has started', () => started().length === 2)
  })

  it('tells what a tool says that fails, and which package brings one that is missing', async () => {
    const failing = new ReadyTool('sh', ['-c', 'read line; echo "wrong: $line" >&2; exit 3'], NEVER_MS)
    failing.prepare()
    await assert.rejects(failing.run('x\n'), (error) => error instanceof CommandFailed && error.status === 3 && error.stderr === 'wrong: x')
    const missing = new ReadyTool('berth-no-such-tool', [], NEVER_MS)
    missing.prepare()
    await until('its end was seen', () => !missing.isReady)
    await assert.rejects(missing.run(''), (error) => error instanceof BerthError && error.code === 'host_unavailable')
  })

  it('ends nobody where the machine can start no process: the next run says so', async () => {
    // A name that no system takes, refused at once like a machine without memory for a process.
    const tool = new ReadyTool('no\0tool', [], NEVER_MS)
    tool.prepare()
    assert.equal(tool.isReady, false)
    await assert.rejects(tool.run(''))
  })
})
