import assert from 'node:assert/strict'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { after, beforeEach, test } from 'node:test'
import { pack } from 'tar-stream'
import { readTree, writeTree } from './local-tree.ts'

const root = mkdtempSync(join(tmpdir(), 'berth-tree-'))
after(() => rmSync(root, { recursive: true }))
let dir = ''
let count = 0
beforeEach(() => {
  count += 1
  dir = join(root, String(count))
  mkdirSync(dir)
})

const plain = { keepOwner: false }
const read = { followLink: false, onSkip: () => assert.fail('nothing is left out') }

function tarOf(...entries: readonly (readonly [header: { name: string } & Record<string, unknown>, body?: string])[]): Readable {
  const tar = pack()
  for (const [header, body] of entries) tar.entry(header, body ?? '')
  tar.finalize()
  return Readable.from(tar)
}

test('a tree of this machine comes back as it was: bytes, modes, links, times, empty files', async () => {
  const from = join(dir, 'from')
  mkdirSync(join(from, 'sub'), { recursive: true })
  writeFileSync(join(from, 'sub', 'big'), Buffer.alloc(300_000, 'ab'))
  writeFileSync(join(from, 'empty'), '')
  writeFileSync(join(from, 'run.sh'), '#!/bin/sh\n')
  chmodSync(join(from, 'run.sh'), 0o755)
  chmodSync(join(from, 'sub'), 0o555)
  symlinkSync('../nowhere', join(from, 'link'))
  const to = join(dir, 'to')
  await writeTree(readTree(from, 'from', read), to, plain)
  assert.deepEqual(readFileSync(join(to, 'sub', 'big')), Buffer.alloc(300_000, 'ab'))
  assert.equal(statSync(join(to, 'empty')).size, 0)
  assert.equal(statSync(join(to, 'run.sh')).mode & 0o777, 0o755)
  assert.equal(statSync(join(to, 'sub')).mode & 0o777, 0o555)
  assert.equal(readlinkSync(join(to, 'link')), '../nowhere')
  assert.equal(Math.floor(statSync(join(to, 'run.sh')).mtimeMs / 1000), Math.floor(statSync(join(from, 'run.sh')).mtimeMs / 1000))
})

test('a file becomes the destination, and replaces one that is there', async () => {
  const to = join(dir, 'to')
  writeFileSync(to, 'old')
  await writeTree(tarOf([{ name: 'whatever' }, 'new']), to, plain)
  assert.equal(readFileSync(to, 'utf8'), 'new')
})

test('nothing is written through a symbolic link that the archive brought', async () => {
  const victim = join(dir, 'victim')
  mkdirSync(victim)
  const tar = tarOf([{ name: 'top/', type: 'directory' }], [{ name: 'top/link', type: 'symlink', linkname: victim }], [{ name: 'top/link/evil' }, 'x'])
  await assert.rejects(writeTree(tar, join(dir, 'to'), plain), /is no directory/)
  assert.equal(existsSync(join(victim, 'evil')), false)
})

test('a link in the place of a file is replaced, not followed', async () => {
  const victim = join(dir, 'victim')
  writeFileSync(victim, 'safe')
  const tar = tarOf([{ name: 'top/', type: 'directory' }], [{ name: 'top/a', type: 'symlink', linkname: victim }], [{ name: 'top/a' }, 'x'])
  await writeTree(tar, join(dir, 'to'), plain)
  assert.equal(readFileSync(victim, 'utf8'), 'safe')
  assert.equal(readFileSync(join(dir, 'to', 'a'), 'utf8'), 'x')
})

test('a name that leads out of the copy is refused', async () => {
  await assert.rejects(writeTree(tarOf([{ name: 'top/../../out' }, 'x']), join(dir, 'to'), plain), /leads out/)
  assert.equal(existsSync(join(root, 'out')), false)
})

test('set-uid bits do not come without their owner', async () => {
  await writeTree(tarOf([{ name: 'f', mode: 0o4755 }, 'x']), join(dir, 'to'), plain)
  assert.equal(statSync(join(dir, 'to')).mode & 0o7777, 0o755)
})

test('a directory that was there keeps its mode where a copy lands in it', async () => {
  const to = join(dir, 'to')
  mkdirSync(to, { mode: 0o700 })
  await writeTree(tarOf([{ name: 'top/', type: 'directory', mode: 0o777 }], [{ name: 'top/a' }, 'x']), to, plain)
  assert.equal(statSync(to).mode & 0o777, 0o700)
})

test('a tar that is cut is a failure, and leaves no half file', async () => {
  const whole = Buffer.concat((await tarOf([{ name: 'f' }, 'x'.repeat(5000)]).toArray()) as Buffer[])
  await assert.rejects(writeTree(Readable.from([whole.subarray(0, 3000)]), join(dir, 'to'), plain), /copy stopped/)
  assert.equal(existsSync(join(dir, 'to')), false)
})
