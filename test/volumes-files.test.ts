/**
 * Volumes on a real disk: what mke2fs made is asked of e2fsprogs, archives are real tar.gz streams, and
 * a full disk is a real one.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, open, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'
import type { Header } from 'tar-stream'
import { BerthError } from '../src/instance/errors.ts'
import type { ErrorCode } from '../src/instance/errors.ts'
import type { VolumeId } from '../src/instance/model.ts'
import { CommandFailed, runCommand } from '../src/host/command.ts'
import { openVolumes } from '../src/host/volumes/volumes.ts'
import type { Volumes } from '../src/host/volumes/volumes.ts'

const MiB = 1024 * 1024
const GiB = 1024 * MiB
const id = (name: string) => name as VolumeId
const isRoot = process.geteuid?.() === 0
const failsWith = (code: ErrorCode, words = /\.$/) => (error: unknown) => {
  assert.ok(error instanceof BerthError, String(error))
  assert.equal(error.code, code, error.message)
  assert.match(error.message, words)
  return true
}

type Entry = Pick<Header, 'name'> & Partial<Header> & { readonly content?: string | Buffer }

/** A tar.gz with exactly these entries, whatever they claim. */
async function tarGz(entries: readonly Entry[]): Promise<Buffer> {
  const archive = pack()
  const chunks: Buffer[] = []
  for (const { content, ...header } of entries) archive.entry(header, content ?? '')
  archive.finalize()
  for await (const chunk of archive) chunks.push(Buffer.from(chunk as Uint8Array))
  return gzipSync(Buffer.concat(chunks))
}

async function* inChunks(data: Buffer, chunkBytes = 1000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < data.length; at += chunkBytes) yield data.subarray(at, at + chunkBytes)
}

describe('volumes', () => {
  let directory: string
  let volumes: Volumes
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'berth-volumes-'))
    volumes = await openVolumes({ dataDir: directory })
  })
  after(() => rm(directory, { recursive: true, force: true }))

  const debugfs = async (name: string, request: string) => runCommand('debugfs', ['-R', request, await volumes.path(id(name))])
  const fsck = (path: string) => runCommand('e2fsck', ['-f', '-n', path])
  const nothingLeft = async () => {
    assert.deepEqual((await readdir(join(directory, 'volumes'))).filter((name) => name.startsWith('.')), [])
  }

  describe('an empty one', () => {
    it('is a clean ext4 of the size asked for that takes next to nothing of the disk, with a journal', async () => {
      await volumes.create({ id: id('ten'), sizeBytes: 10 * GiB })
      const path = await volumes.path(id('ten'))
      const facts = await stat(path)
      assert.equal(facts.size, 10 * GiB)
      assert.ok(facts.blocks * 512 < MiB, `takes ${facts.blocks * 512} bytes`)
      await fsck(path)
      const about = await runCommand('dumpe2fs', [path])
      assert.match(about, /Filesystem features:.* has_journal|has_journal.*Filesystem features/)
      assert.match(about, /Filesystem features:.*ext_attr/)
      assert.match(about, /Reserved block count: +0/)
      assert.match(about, /Block count: +2621440/)
      // Inode tables that still are to be zeroed would be written by the guest, and grow the file.
      assert.doesNotMatch(about.replaceAll('ITABLE_ZEROED', ''), /ITABLE/)
      assert.equal((about.match(/^Group \d+:/gm) ?? []).length, (about.match(/ITABLE_ZEROED/g) ?? []).length)
      assert.equal(await volumes.diskUse(), facts.blocks * 512)
    })

    it('made twice is made once; another size under its id is refused', async () => {
      await volumes.create({ id: id('twice'), sizeBytes: 16 * MiB })
      const before = await stat(await volumes.path(id('twice')))
      await volumes.create({ id: id('twice'), sizeBytes: 16 * MiB })
      assert.equal((await stat(await volumes.path(id('twice')))).ino, before.ino)
      await assert.rejects(volumes.create({ id: id('twice'), sizeBytes: 32 * MiB }), failsWith('already_exists'))
      await assert.rejects(volumes.importArchive({ id: id('twice'), sizeBytes: 16 * MiB }, inChunks(await tarGz([]))), failsWith('already_exists'))
    })

    it('created by ten callers at once is one volume', async () => {
      const results = await Promise.allSettled(Array.from({ length: 10 }, () => volumes.create({ id: id('race'), sizeBytes: 16 * MiB })))
      assert.ok(results.some(({ status }) => status === 'fulfilled'))
      for (const result of results) if (result.status === 'rejected') failsWith('already_exists')(result.reason)
      await fsck(await volumes.path(id('race')))
      await nothingLeft()
    })

    it('deleted is gone, twice too, and then not found', async () => {
      await volumes.create({ id: id('gone'), sizeBytes: 16 * MiB })
      assert.ok((await volumes.list()).includes(id('gone')))
      await volumes.delete(id('gone'))
      await volumes.delete(id('gone'))
      await assert.rejects(volumes.path(id('gone')), failsWith('volume_not_found'))
      assert.ok(!(await volumes.list()).includes(id('gone')))
      await nothingLeft()
    })

    it('holds what fits and refuses what does not', { skip: isRoot ? false : 'mounting needs root' }, async () => {
      await volumes.create({ id: id('limit'), sizeBytes: 16 * MiB })
      const mount = join(directory, 'mount')
      await mkdir(mount)
      await runCommand('mount', ['-o', 'loop', await volumes.path(id('limit')), mount])
      try {
        await writeFile(join(mount, 'fits'), randomBytes(8 * MiB))
        await assert.rejects(writeFile(join(mount, 'too-much'), randomBytes(16 * MiB)), { code: 'ENOSPC' })
      } finally {
        await runCommand('umount', [mount])
      }
    })

    for (const name of ['', '.', '..', '../x', 'a/b', '.hidden', '/etc', 'a\0b', 'x'.repeat(129), 'ä']) {
      it(`${JSON.stringify(name.slice(0, 20))} is no id, wherever it is given`, async () => {
        await assert.rejects(volumes.create({ id: id(name), sizeBytes: 16 * MiB }), failsWith('invalid_name'))
        await assert.rejects(volumes.importArchive({ id: id(name), sizeBytes: 16 * MiB }, inChunks(Buffer.alloc(0))), failsWith('invalid_name'))
        await assert.rejects(volumes.delete(id(name)), failsWith('invalid_name'))
        await assert.rejects(volumes.path(id(name)), failsWith('invalid_name'))
      })
    }

    for (const sizeBytes of [0, -1, 1.5, Number.NaN, 8 * MiB - 1, 2 ** 60]) {
      it(`${sizeBytes} bytes is no size`, () => assert.rejects(volumes.create({ id: id('size'), sizeBytes }), failsWith('invalid_size')))
    }
  })

  describe('an overlay', () => {
    it('is an empty ext4; one that is there keeps its data', async () => {
      const path = join(directory, 'overlay.ext4')
      await volumes.createOverlay(path, 64 * MiB)
      await fsck(path)
      const file = await open(path, 'r+')
      await file.write(Buffer.from('data'), 0, 4, 32 * MiB)
      await file.close()
      await volumes.createOverlay(path, 64 * MiB)
      const again = await open(path, 'r')
      assert.equal((await again.read(Buffer.alloc(4), 0, 4, 32 * MiB)).buffer.toString(), 'data')
      await again.close()
    })

    it('serves overlayfs as its upper layer, extended attributes included', { skip: isRoot ? false : 'mounting needs root' }, async () => {
      const path = join(directory, 'upper.ext4')
      await volumes.createOverlay(path, 64 * MiB)
      const [lower, upper, merged] = ['lower', 'upper', 'merged'].map((name) => join(directory, name)) as [string, string, string]
      for (const folder of [lower, upper, merged, join(lower, 'd')]) await mkdir(folder)
      await writeFile(join(lower, 'd', 'f'), 'x')
      await runCommand('mount', ['-o', 'loop', path, upper])
      try {
        for (const folder of ['u', 'w']) await mkdir(join(upper, folder))
        await runCommand('mount', ['-t', 'overlay', 'overlay', '-o', `lowerdir=${lower},upperdir=${upper}/u,workdir=${upper}/w`, merged])
        try {
          // Replacing a directory marks the new one opaque: an extended attribute in the upper layer.
          await rm(join(merged, 'd'), { recursive: true })
          await mkdir(join(merged, 'd'))
          assert.deepEqual(await readdir(join(merged, 'd')), [])
        } finally {
          await runCommand('umount', [merged])
        }
      } finally {
        await runCommand('umount', [upper])
      }
    })
  })

  describe('one filled from an archive', () => {
    it('has the files, directories, links, modes, owners and times of the archive', { skip: isRoot ? false : 'owners need root' }, async () => {
      const archive = await tarGz([
        { name: './', type: 'directory', mode: 0o755 },
        { name: './app/', type: 'directory', mode: 0o2775, uid: 1000, gid: 1001 },
        { name: './app/run.sh', mode: 0o4755, uid: 1000, gid: 1001, mtime: new Date(1_600_000_000_000), content: '#!/bin/sh\n' },
        { name: 'app/again', type: 'link', linkname: 'app/run.sh' },
        { name: 'app/link', type: 'symlink', linkname: '../data/big' },
        { name: `long/${'n'.repeat(150)}/${'m'.repeat(150)}`, content: 'long' },
        { name: 'näme ü', content: 'utf-8' },
        { name: 'data/big', mode: 0o600, content: Buffer.alloc(3 * MiB, 'b') },
      ])
      assert.deepEqual(await volumes.importArchive({ id: id('full'), sizeBytes: 32 * MiB }, inChunks(archive)), { sizeBytes: 32 * MiB })
      const path = await volumes.path(id('full'))
      await fsck(path)
      assert.match(await debugfs('full', 'stat /app/run.sh'), /Mode: +04755[\s\S]*User: +1000 +Group: +1001[\s\S]*Links: 2[\s\S]*mtime: 0x5f5e1000/)
      assert.match(await debugfs('full', 'stat /app'), /Mode: +02775/)
      assert.match(await debugfs('full', 'stat /app/link'), /Fast link dest: "\.\.\/data\/big"/)
      assert.equal(await debugfs('full', `cat /long/${'n'.repeat(150)}/${'m'.repeat(150)}`), 'long')
      assert.equal((await debugfs('full', 'cat /data/big')).length, 3 * MiB)
      assert.equal(await debugfs('full', 'cat "/näme ü"'), 'utf-8')
      assert.equal((await stat(path)).size, 32 * MiB)
      await nothingLeft()
    })

    it('may hold many more small files than mke2fs would make inodes for', async () => {
      const archive = await tarGz(Array.from({ length: 3000 }, (_, n) => ({ name: `d/${n}`, content: '' })))
      await volumes.importArchive({ id: id('many'), sizeBytes: 16 * MiB }, inChunks(archive, 100_000))
      assert.match(await debugfs('many', 'stat /d/2999'), /Type: regular/)
    })

    const attacks: readonly (readonly [string, readonly Entry[], RegExp])[] = [
      ['an absolute path', [{ name: '/etc/cron.d/x', content: 'x' }], /absolute path/],
      ['".." at the start', [{ name: '../x', content: 'x' }], /"\.\."/],
      ['".." inside', [{ name: 'a/../../x', content: 'x' }], /"\.\."/],
      ['a symlink to an absolute path', [{ name: 'a', type: 'symlink', linkname: '/etc' }], /points outside/],
      ['a symlink that climbs out', [{ name: 'a/b', type: 'symlink', linkname: '../../x' }], /points outside/],
      ['a symlink that climbs out in the middle', [{ name: 'a', type: 'symlink', linkname: 'b/../../c' }], /points outside/],
      ['a file through a symlink', [{ name: 'd/', type: 'directory' }, { name: 'a', type: 'symlink', linkname: 'd' }, { name: 'a/f', content: 'x' }], /leads through/],
      ['a file through a file', [{ name: 'a', content: 'x' }, { name: 'a/f', content: 'x' }], /leads through/],
      ['a symlink in place of a directory', [{ name: 'a/f', content: 'x' }, { name: 'a', type: 'symlink', linkname: 'b' }], /there twice/],
      ['a hard link to the outside', [{ name: 'a', type: 'link', linkname: '/etc/passwd' }], /absolute path/],
      ['a hard link to nothing', [{ name: 'a', type: 'link', linkname: 'b' }], /hard link/],
      ['a hard link to a symlink', [{ name: 's', type: 'symlink', linkname: 'x' }, { name: 'a', type: 'link', linkname: 's' }], /hard link/],
      ['a character device', [{ name: 'null', type: 'character-device', devmajor: 1, devminor: 3 }], /character-device/],
      ['a block device', [{ name: 'sda', type: 'block-device', devmajor: 8, devminor: 0 }], /block-device/],
      ['a pipe', [{ name: 'p', type: 'fifo' }], /fifo/],
      ['a name longer than a file system takes', [{ name: 'n'.repeat(256), content: 'x' }], /255 bytes/],
      ['a file without a name', [{ name: './', type: 'file', content: 'x' }], /has no name/],
    ]
    for (const [what, entries, words] of attacks) {
      it(`${what} is refused, and nothing is left`, async () => {
        const archive = await tarGz([{ name: 'good', content: 'good' }, ...entries, { name: 'more', content: 'more' }])
        await assert.rejects(volumes.importArchive({ id: id('attack'), sizeBytes: 16 * MiB }, inChunks(archive)), failsWith('invalid_archive', words))
        await assert.rejects(volumes.path(id('attack')), failsWith('volume_not_found'))
        await nothingLeft()
      })
    }

    it('content that is larger than the volume is refused as soon as its header says so', async () => {
      const archive = await tarGz([{ name: 'bomb', content: Buffer.alloc(64 * MiB) }])
      assert.ok(archive.length < MiB, 'it is a bomb: small on the way')
      await assert.rejects(volumes.importArchive({ id: id('bomb'), sizeBytes: 16 * MiB }, inChunks(archive)), failsWith('archive_too_large'))
      await nothingLeft()
    })

    it('content that fits by itself, but not with what ext4 needs, is refused too', async () => {
      const archive = await tarGz([{ name: 'tight', content: randomBytes(16 * MiB - 4096) }])
      await assert.rejects(volumes.importArchive({ id: id('tight'), sizeBytes: 16 * MiB }, inChunks(archive, 65536)), failsWith('archive_too_large'))
      await nothingLeft()
    })

    it('a gzip bomb behind the end of the archive is refused', async () => {
      const end = Buffer.concat([await tarGz([{ name: 'a', content: 'a' }]), gzipSync(Buffer.alloc(128 * MiB))])
      await assert.rejects(volumes.importArchive({ id: id('tail'), sizeBytes: 8 * MiB }, inChunks(end, 65536)), failsWith('archive_too_large'))
      await nothingLeft()
    })

    it('what is damaged, cut off, or no tar.gz at all is refused', async () => {
      const good = await tarGz([{ name: 'a', content: randomBytes(100_000) }])
      const flipped = Buffer.from(good)
      flipped.writeUInt8(flipped.readUInt8(5000) ^ 0xff, 5000)
      for (const bytes of [Buffer.alloc(0), good.subarray(0, good.length / 2), flipped, randomBytes(5000), gzipSync(randomBytes(5000)), gzipSync('text')]) {
        await assert.rejects(volumes.importArchive({ id: id('bad'), sizeBytes: 16 * MiB }, inChunks(bytes)), failsWith('invalid_archive'))
      }
      await nothingLeft()
    })

    it('a client that goes away half-way leaves nothing', async () => {
      const good = await tarGz([{ name: 'a', content: randomBytes(100_000) }])
      async function* broken(): AsyncGenerator<Uint8Array> {
        yield good.subarray(0, 50_000)
        throw new Error('socket hang up')
      }
      await assert.rejects(volumes.importArchive({ id: id('away'), sizeBytes: 16 * MiB }, broken()), failsWith('cancelled'))
      await nothingLeft()
    })
  })

  it('what a crash left unfinished is swept when the room opens again', async () => {
    await mkdir(join(directory, 'volumes', '.making-abc123', 'tree'), { recursive: true })
    await mkdir(join(directory, 'volumes', '.deleting-x-1-2'))
    const again = await openVolumes({ dataDir: directory })
    await nothingLeft()
    assert.ok((await again.list()).includes(id('ten')))
  })

  it('is closed when nothing is made in the background any more: its directory can be removed', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'berth-closed-'))
    const closing = await openVolumes({ dataDir })
    // Beside the first of a size, what the next ones are copies of is made.
    await closing.createOverlay(join(dataDir, 'first'), 48 * MiB)
    await closing.close()
    assert.deepEqual(await readdir(join(dataDir, 'volumes')), [])
    await rm(dataDir, { recursive: true })
  })

  it('files go to the user that QEMU runs as, and nobody else reads them', { skip: isRoot ? false : 'owners need root' }, async () => {
    const owned = await openVolumes({ dataDir: join(directory, 'owned'), owner: { uid: 65534, gid: 65534 } })
    await owned.create({ id: id('v'), sizeBytes: 16 * MiB })
    const { uid, gid, mode } = await stat(await owned.path(id('v')))
    assert.deepEqual([uid, gid, mode & 0o777], [65534, 65534, 0o600])
  })

  describe('on a full disk', { skip: isRoot ? false : 'mounting needs root' }, () => {
    let small: string
    before(async () => {
      small = await mkdtemp(join(tmpdir(), 'berth-small-'))
      await runCommand('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', small])
    })
    after(async () => {
      await runCommand('umount', [small])
      await rm(small, { recursive: true })
    })

    it('creating, importing and overlays say disk_full, and nothing is left', async () => {
      const tight = await openVolumes({ dataDir: small })
      const archive = await tarGz([{ name: 'a', content: randomBytes(4 * MiB) }])
      await assert.rejects(tight.importArchive({ id: id('a'), sizeBytes: 16 * MiB }, inChunks(archive, 65536)), failsWith('disk_full'))
      await writeFile(join(small, 'ballast'), randomBytes(2 * MiB - 64 * 1024))
      await assert.rejects(tight.create({ id: id('b'), sizeBytes: GiB }), failsWith('disk_full'))
      await assert.rejects(tight.createOverlay(join(small, 'o.ext4'), GiB), failsWith('disk_full'))
      await tight.close()
      assert.deepEqual(await readdir(join(small, 'volumes')), [])
      assert.deepEqual((await readdir(small)).toSorted(), ['ballast', 'volumes'])
    })
  })

  it('leaves no loop device and no mount behind', async () => {
    const mounts = await runCommand('mount', []).catch((error: unknown) => (error instanceof CommandFailed ? '' : Promise.reject(error)))
    assert.ok(!mounts.includes(directory))
  })
})
