import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm, stat, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { runCommand } from '../command.ts'
import { writeJson } from '../qemu/atomic-file.ts'
import { makeExt4 } from '../volumes/ext4.ts'
import { growExt4, undoGrowth } from './grow.ts'

const MIB = 2 ** 20
let dir: string
let file: string

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'berth-grow-'))
  file = join(dir, 'data.ext4')
  await makeExt4(file, { sizeBytes: 64 * MIB, label: 'test' })
})
afterEach(() => rm(dir, { recursive: true, force: true }))

/** What the file system itself says that it has; it must be whole. */
async function bytesOf(): Promise<number> {
  await runCommand('e2fsck', ['-f', '-n', file])
  const text = await runCommand('dumpe2fs', ['-h', file])
  const figure = (name: string) => Number(new RegExp(`^${name}: +(\\d+)`, 'm').exec(text)?.[1])
  return figure('Block count') * figure('Block size')
}

test('a file system grows with its file, and a second time changes nothing', async () => {
  await growExt4(dir, file, 128 * MIB)
  await growExt4(dir, file, 128 * MIB)
  await growExt4(dir, file, 64 * MIB)
  assert.deepEqual([await bytesOf(), (await stat(file)).size, await readdir(dir)], [128 * MIB, 128 * MIB, ['data.ext4']])
})

test('a growth that was cut off before the file system was touched is undone', async () => {
  await writeJson(join(dir, 'growing.json'), 64 * MIB)
  await truncate(file, 128 * MIB)
  await undoGrowth(dir, file)
  assert.deepEqual([await bytesOf(), (await stat(file)).size, await readdir(dir)], [64 * MIB, 64 * MIB, ['data.ext4']])
})

test('a growth that was cut off after the file system was changed is undone, too', async () => {
  await writeJson(join(dir, 'growing.json'), 64 * MIB)
  await truncate(file, 128 * MIB)
  await runCommand('e2fsck', ['-f', '-p', file])
  await runCommand('resize2fs', ['-z', join(dir, 'growing.e2undo'), file])
  assert.equal(await bytesOf(), 128 * MIB)
  await undoGrowth(dir, file)
  assert.deepEqual([await bytesOf(), (await stat(file)).size, await readdir(dir)], [64 * MIB, 64 * MIB, ['data.ext4']])
  await undoGrowth(dir, file)
  await growExt4(dir, file, 96 * MIB)
  assert.equal(await bytesOf(), 96 * MIB)
})
