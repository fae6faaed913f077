import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { BerthError } from '../instance/errors.ts'
import { lockDataDir, OWNER_FILE, ownerOf } from './data-lock.ts'

function inTemporaryDir(run: (dir: string) => void): void {
  const dir = mkdtempSync(join(tmpdir(), 'berth-lock-'))
  try {
    run(dir)
  } finally {
    rmSync(dir, { recursive: true })
  }
}

test('a directory has one owner, and the second is told who that is', () => {
  inTemporaryDir(dir => {
    const first = lockDataDir(dir)
    first.announce('http://127.0.0.1:1234')
    assert.throws(
      () => lockDataDir(dir),
      (error: unknown) =>
        error instanceof BerthError &&
        error.code === 'already_exists' &&
        error.message.includes(`pid ${process.pid}`) &&
        error.message.includes('http://127.0.0.1:1234'),
    )
    first.release()
    assert.equal(existsSync(join(dir, OWNER_FILE)), false)
    lockDataDir(dir).release()
  })
})

test('what a dead owner left behind does not keep the next one out', () => {
  inTemporaryDir(dir => {
    // The file of a server that was killed; its kernel lock went with it, whoever has that pid now.
    writeFileSync(join(dir, OWNER_FILE), JSON.stringify({ pid: process.ppid, startTicks: '1', bootId: 'x', url: 'http://127.0.0.1:1' }))
    const lock = lockDataDir(dir)
    lock.announce('http://127.0.0.1:2')
    const owner = JSON.parse(readFileSync(join(dir, OWNER_FILE), 'utf8')) as { pid: number; startTicks: string; bootId: string }
    assert.equal(owner.pid, process.pid)
    assert.match(owner.startTicks, /^\d+$/)
    assert.match(owner.bootId, /^[0-9a-f-]{36}$/)
    lock.release()
  })
})

test('the owner is who serves now, never who did', () => {
  inTemporaryDir(dir => {
    assert.equal(ownerOf(dir), null)
    const lock = lockDataDir(dir)
    assert.equal(ownerOf(dir), null)
    lock.announce('http://127.0.0.1:2', 'http://127.0.0.1:3/mcp')
    const owner = ownerOf(dir)
    assert.deepEqual([owner?.pid, owner?.url, owner?.mcpUrl], [process.pid, 'http://127.0.0.1:2', 'http://127.0.0.1:3/mcp'])
    lock.release()
    // A pid that is alive, but somebody else's by now.
    writeFileSync(join(dir, OWNER_FILE), JSON.stringify({ ...owner, startTicks: '1' }))
    assert.equal(ownerOf(dir), null)
    writeFileSync(join(dir, OWNER_FILE), '{')
    assert.equal(ownerOf(dir), null)
  })
})
