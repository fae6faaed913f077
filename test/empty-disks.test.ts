/** Empty disks that are copies of what mke2fs wrote, checked by the tools of ext4 itself. */
import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, stat, writeFile, type FileHandle } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { BerthError } from '../src/instance/errors.ts'
import { runCommand } from '../src/host/command.ts'
import { readExtents, writeWhole } from '../src/host/volumes/disk-pattern.ts'
import { EmptyDisks, MAX_PATTERNS } from '../src/host/volumes/empty-disks.ts'
import { isRoot } from './host-lab.ts'

const MIB = 1024 * 1024

describe('empty disks', () => {
  let dir: string
  let disks: EmptyDisks
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'berth-empty-'))
    disks = new EmptyDisks(dir, isRoot ? { uid: 12_345, gid: 12_346 } : null)
  })
  after(() => rm(dir, { recursive: true, force: true }))

  for (const [name, size] of [['small', 8 * MIB], ['of the default size', 1024 * MIB], ['large', 64 * 1024 * MIB], ['odd', 100 * MIB + 4096]] as const) {
    it(`that are ${name}: the first is made, the next are copies, and each is a whole file system`, async () => {
      await disks.create(join(dir, `${name}-1`), size)
      await disks.settled()
      assert.ok(disks.knows(size), 'the size is known')
      await disks.create(join(dir, `${name}-2`), size)
      for (const path of [join(dir, `${name}-1`), join(dir, `${name}-2`)]) {
        const { size: bytes, blocks, uid, mode } = await stat(path)
        assert.equal(bytes, size)
        assert.ok(blocks * 512 < 3 * MIB, `it takes ${blocks * 512} bytes`)
        assert.equal(mode & 0o777, 0o600)
        if (isRoot) assert.equal(uid, 12_345)
        await runCommand('e2fsck', ['-f', '-n', path])
        const listed = await runCommand('debugfs', ['-R', 'ls -l /', path])
        if (isRoot) {
          for (const [directory, shown] of [['upper', '40755'], ['work', '40755'], ['private', '40700']]) {
            assert.match(listed, new RegExp(`${shown} \\(2\\) +0 +0 .* ${directory}$`, 'm'))
          }
        }
      }
      const [made, copied] = await Promise.all(['1', '2'].map((which) => runCommand('dumpe2fs', ['-h', join(dir, `${name}-${which}`)])))
      assert.deepEqual(lasting(copied), lasting(made))
      assert.deepEqual((await readdir(dir)).filter((left) => left.includes('making')), [])
    })
  }

  it('leave alone what is there', async () => {
    const path = join(dir, 'kept')
    await writeFile(path, 'data')
    await disks.create(path, 8 * MIB)
    assert.equal(await readFile(path, 'utf8'), 'data')
  })

  it('of many sizes are remembered up to a limit', async () => {
    const sizes = Array.from({ length: MAX_PATTERNS + 1 }, (_, index) => (9 + index) * MIB)
    for (const size of sizes) await disks.create(join(dir, `many-${size}`), size)
    await disks.settled()
    assert.deepEqual([sizes[0], sizes[1], sizes.at(-1)].map((size) => disks.knows(size ?? 0)), [false, true, true])
  })

  it('that can’t be written say so and leave nothing', async () => {
    await disks.create(join(dir, 'again-1'), 8 * MIB)
    await disks.settled()
    await assert.rejects(disks.create(join(dir, 'nowhere', 'disk'), 8 * MIB))
    await assert.rejects(disks.create(join(dir, 'tiny'), MIB), (error) => error instanceof BerthError && error.code === 'invalid_size')
  })

  it('are written whole where the disk takes only a part at a time', async () => {
    const written: string[] = []
    const write = async (bytes: Buffer, from: number, length: number, at: number) => {
      const taken = Math.min(3, length)
      written.push(`${at}:${bytes.subarray(from, from + taken).toString()}`)
      return { bytesWritten: taken, buffer: bytes }
    }
    await writeWhole({ write } as unknown as FileHandle, Buffer.from('abcdefgh'), 100)
    assert.deepEqual(written, ['100:abc', '103:def', '106:gh'])
  })

  it('have parts as filefrag tells them; what was only reserved is none', () => {
    const printed = [' ext:     logical_offset:        physical_offset: length:', '   0:        0..       2:   43..  45:      3:   ', '   1:  4114..    4121:   43304978..  43304985:      8:   43292690:', '  10:   262128..  262143:   1..  16: 16: 2: last,unwritten,eof'].join('\n')
    assert.deepEqual(readExtents(printed), [{ offset: 0, bytes: 3 * 4096 }, { offset: 4114 * 4096, bytes: 8 * 4096 }])
    assert.equal(readExtents('FIBMAP unsupported'), null)
  })
})

/** What doesn't differ from one making to the next. */
function lasting(superblock: string | undefined): string[] {
  return (superblock ?? '').split('\n').filter((line) => !/UUID|created|time|Seed|[Cc]hecksum|mounted on/.test(line))
}
