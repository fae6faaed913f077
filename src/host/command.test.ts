import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { BerthError } from '../instance/errors.ts'
import { CommandFailed, asDiskError, runCommand } from './command.ts'

describe('runCommand', () => {
  it('gives stdout, passes stdin, and lets no shell near the arguments', async () => {
    assert.equal(await runCommand('cat', [], { input: 'näh\n' }), 'näh\n')
    assert.equal(await runCommand('printf', ['%s', '$HOME; `id`']), '$HOME; `id`')
  })

  it('a tool that says no becomes CommandFailed with what it printed', async () => {
    await assert.rejects(
      runCommand('sh', ['-c', 'echo wrong >&2; exit 3']),
      (error) => error instanceof CommandFailed && error.status === 3 && error.stderr === 'wrong',
    )
  })

  it('a tool that ends without reading its input still tells its status', async () => {
    await assert.rejects(
      runCommand('sh', ['-c', 'exit 4'], { input: 'x'.repeat(1_000_000) }),
      (error) => error instanceof CommandFailed && error.status === 4,
    )
  })

  it('a missing tool names its package', async () => {
    await assert.rejects(
      runCommand('berth-no-such-tool', []),
      (error) => error instanceof BerthError && error.code === 'host_unavailable' && /install the package/.test(error.message),
    )
  })

  it('a tool past its deadline is killed', async () => {
    await assert.rejects(
      runCommand('sleep', ['30'], { timeoutMs: 50 }),
      (error) => error instanceof BerthError && error.code === 'timeout',
    )
  })

  it('no room left on the disk is disk_full, from a tool or from a system call', async () => {
    await assert.rejects(
      runCommand('dd', ['if=/dev/zero', 'of=/dev/full', 'count=1']),
      (error) => error instanceof BerthError && error.code === 'disk_full',
    )
    const full = asDiskError(Object.assign(new Error('write'), { code: 'ENOSPC' }), 'a volume')
    assert.ok(full instanceof BerthError && full.code === 'disk_full')
    const other = new Error('else')
    assert.equal(asDiskError(other, 'a volume'), other)
  })

  it('a server without a descriptor left is told so, and goes on', async () => {
    const program = `
      import { openSync } from 'node:fs'
      const { runCommand } = await import(${JSON.stringify(new URL('command.ts', import.meta.url).href)})
      try { for (;;) openSync('/dev/null', 'r') } catch {}
      const said = await runCommand('true', []).then(() => 'nothing', (error) => error.code)
      setImmediate(() => process.stdout.write(said))`
    assert.equal(await runCommand('sh', ['-c', 'ulimit -n 64; exec "$0" --input-type=module -e "$1"', process.execPath, program]), 'EMFILE')
  })
})
