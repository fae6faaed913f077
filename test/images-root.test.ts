/** What of an image becomes the root of an instance: owners, links and whiteouts stay as they are, and hostile layers get nowhere. */
import assert from 'node:assert/strict'
import { lstat, mkdir, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { BerthError } from '../src/instance/errors.ts'
import { base, registry, store, dataDir, run, useImagesLab, pull, pullNew, fails, mounted, mountedFile, leftovers } from './images-lab.ts'
import { noise, push, sha256, tar, temporaryDirectory, type TestImage, writeOciLayout } from './registry-fixture.ts'

useImagesLab()

describe('what the root keeps', () => {
  test('owners, modes, times, links, devices and extended attributes', async () => {
    const capability = '\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
    const image = await pullNew('kept', {
      layers: [
        tar([
          { name: 'bin/', type: 'dir', mode: 0o755 },
          { name: 'bin/su', data: 'su', mode: 0o4755 },
          { name: 'bin/again', type: 'hardlink', link: 'bin/su' },
          { name: 'bin/away', type: 'symlink', link: '/etc/passwd' },
          { name: 'tmp/', type: 'dir', mode: 0o1777 },
          { name: 'home', type: 'dir', uid: 1000, gid: 2000, mode: 0o2750 },
          { name: 'home/file', data: 'mine', uid: 1000, gid: 2000, mode: 0o640, mtime: 1_234_567_890 },
          { name: 'null', type: 'char', device: [1, 3], mode: 0o666 },
          { name: 'disk', type: 'block', device: [8, 1], mode: 0o660 },
          { name: 'pipe', type: 'fifo', mode: 0o600 },
          { name: 'ping', data: 'ping', mode: 0o755, xattrs: { 'user.note': 'kept', 'security.capability': capability } },
        ]),
      ],
    })
    await mounted(image, async (root) => {
      const su = await stat(join(root, 'bin/su'))
      assert.equal(su.mode & 0o7777, 0o4755)
      assert.equal(su.nlink, 2)
      assert.equal((await stat(join(root, 'bin/again'))).ino, su.ino)
      assert.equal(await readlink(join(root, 'bin/away')), '/etc/passwd')
      assert.equal((await stat(join(root, 'tmp'))).mode & 0o7777, 0o1777)
      assert.equal((await stat(join(root, 'home'))).mode & 0o7777, 0o2750)
      const file = await stat(join(root, 'home/file'))
      assert.deepEqual([file.uid, file.gid, file.mode & 0o7777, file.mtimeMs], [1000, 2000, 0o640, 1_234_567_890_000])
      const node = await lstat(join(root, 'null'))
      assert.deepEqual([node.isCharacterDevice(), node.rdev], [true, (1 << 8) | 3])
      assert.ok((await lstat(join(root, 'disk'))).isBlockDevice())
      assert.ok((await lstat(join(root, 'pipe'))).isFIFO())
      const { stdout } = await run('python3', ['-c', 'import os,sys,json; print(json.dumps([os.getxattr(sys.argv[1], n).hex() for n in ("user.note", "security.capability")]))', join(root, 'ping')])
      assert.deepEqual(JSON.parse(stdout), [Buffer.from('kept').toString('hex'), Buffer.from(capability, 'latin1').toString('hex')])
    })
  })

  test('whiteouts take away what lower layers brought', async () => {
    const image = await pullNew('whiteouts', {
      layers: [
        tar([
          { name: 'gone', data: 'x' },
          { name: 'stays', data: 'x' },
          { name: 'emptied/old', data: 'x' },
          { name: 'emptied/deep/older', data: 'x' },
          { name: 'tree/a/b', data: 'x' },
        ]),
        tar([
          { name: '.wh.gone', data: '' },
          { name: 'emptied/.wh..wh..opq', data: '' },
          { name: 'emptied/new', data: 'y' },
          { name: 'tree/.wh.a', data: '' },
        ]),
      ],
    })
    await mounted(image, async (root) => {
      assert.deepEqual((await readdir(root)).sort(), ['emptied', 'stays', 'tree'])
      assert.deepEqual(await readdir(join(root, 'emptied')), ['new'])
      assert.deepEqual(await readdir(join(root, 'tree')), [])
    })
  })
})

describe('hostile and damaged images', () => {
  test('a layer never writes outside of its root', async () => {
    const marker = `berth-escape-${process.pid}`
    const victim = join(base, 'victim')
    await mkdir(victim, { recursive: true })
    await writeFile(join(victim, 'kept'), 'kept')
    const up = '../'.repeat(20)
    const layers: readonly (readonly [string, Buffer])[] = [
      ['dotdot', tar([{ name: `${up}tmp/${marker}`, data: 'x' }, { name: `a/${up}tmp/${marker}`, data: 'x' }])],
      ['absolute', tar([{ name: `/tmp/${marker}`, data: 'x' }])],
      ['symlink', tar([{ name: 'out', type: 'symlink', link: victim.slice(0, 99) }, { name: 'out/written', data: 'x' }])],
      ['relative-symlink', tar([{ name: 'out', type: 'symlink', link: `${up.slice(0, 60)}tmp` }, { name: `out/${marker}`, data: 'x' }])],
      ['hardlink', tar([{ name: 'grab', type: 'hardlink', link: join(victim, 'kept').slice(0, 99) }, { name: 'grab', data: 'overwritten' }])],
      ['whiteout', tar([{ name: 'out', type: 'symlink', link: victim.slice(0, 99) }, { name: 'out/.wh.kept', data: '' }])],
      ['opaque', tar([{ name: 'out', type: 'symlink', link: victim.slice(0, 99) }, { name: 'out/.wh..wh..opq', data: '' }])],
      ['chmod', tar([{ name: `${up}${victim.slice(1)}`.slice(0, 99), type: 'dir', mode: 0o777 }])],
    ]
    const victimMode = (await stat(victim)).mode
    for (const [name, layer] of layers) {
      await push(registry.host, `hostile:${name}`, { layers: [layer, tar([{ name: 'later', data: 'x' }])] })
      try {
        await pull(`hostile:${name}`)
      } catch (error) {
        assert.ok(error instanceof BerthError && error.code === 'invalid_archive', `${name}: ${String(error)}`)
      }
      assert.deepEqual(await readdir(victim), ['kept'], name)
      assert.equal(await readFile(join(victim, 'kept'), 'utf8'), 'kept', name)
      assert.equal((await stat(victim)).mode, victimMode, name)
      await assert.rejects(lstat(`/tmp/${marker}`), name)
    }
  })

  test('a layer that is no tar, one that is cut off, and one that the config does not know are refused', async () => {
    const whole = tar([{ name: 'file', data: noise(10_000) }])
    const cases: readonly (readonly [string, TestImage])[] = [
      ['garbage', { layers: [noise(5000)] }],
      ['truncated', { layers: [whole.subarray(0, 6000)] }],
      ['cut-gzip', { layers: [gzipSync(whole).subarray(0, 5000)], layerType: 'application/vnd.oci.image.layer.v1.tar+gzip', diffIds: [sha256(whole)] }],
      ['not-gzip', { layers: [noise(5000)], layerType: 'application/vnd.oci.image.layer.v1.tar+gzip' }],
      ['other-diff-id', { layers: [whole], diffIds: [sha256(Buffer.from('another'))] }],
    ]
    for (const [name, image] of cases) {
      await push(registry.host, `damaged:${name}`, image)
      const failure = await fails('invalid_archive', pull(`damaged:${name}`))
      assert.match(failure.message, /^[^\n]{10,200}\.$/, name)
    }
    assert.deepEqual(store.list(), [])
    assert.deepEqual(await leftovers(), [])
  })

  test('a blob that has rotted in the cache is fetched again', async () => {
    const layer = gzipSync(tar([{ name: 'file', data: 'sound' }]))
    const image: TestImage = { layers: [layer], layerType: 'application/vnd.oci.image.layer.v1.tar+gzip', diffIds: [sha256(tar([{ name: 'file', data: 'sound' }]))] }
    await push(registry.host, 'rotten:latest', image)
    const rotten = Buffer.from(layer)
    rotten.writeUInt8(rotten.readUInt8(40) ^ 0xff, 40)
    await writeFile(join(dataDir, 'image-cache/blobs/sha256', sha256(layer).slice(7)), rotten)
    const pulled = await pull('rotten:latest')
    await mounted(pulled, async (root) => assert.equal(await readFile(join(root, 'file'), 'utf8'), 'sound'))
  })
})

describe('without root', () => {
  test('images are made all the same: files are root\'s, closed ones are opened, devices are empty files', async (t) => {
    const asNobody = ['--reuid', '65534', '--regid', '65534', '--clear-groups', '--']
    const front = new URL('../src/host/images/image-store.ts', import.meta.url).pathname
    const readable = await run('setpriv', [...asNobody, process.execPath, '--eval', `require('fs').accessSync(${JSON.stringify(front)})`]).then(
      () => true,
      () => false,
    )
    if (!readable) return t.skip('another user may not read this checkout')
    const mine = await temporaryDirectory()
    try {
      const layout = join(mine, 'layout')
      await writeOciLayout(layout, {
        layers: [
          tar([
            { name: 'closed/', type: 'dir', mode: 0 },
            { name: 'closed/file', data: 'x', uid: 5, gid: 7, mode: 0 },
            { name: 'null', type: 'char', device: [1, 3] },
            { name: 'su', data: 'su', mode: 0o4755 },
          ]),
        ],
      })
      const archive = join(mine, 'archive.tar')
      await run('tar', ['-C', layout, '-cf', archive, '.'])
      await run('chown', ['-R', '65534:65534', mine])
      const script = `
        const { openImageStore } = await import(${JSON.stringify(front)})
        const { createReadStream } = await import('node:fs')
        const make = async () => {
          const store = await openImageStore({ dataDir: ${JSON.stringify(join(mine, 'data'))}, minFreeBytes: 0 })
          const image = await store.import(createReadStream(${JSON.stringify(archive)}), () => undefined)
          return { store, image }
        }
        const { store, image } = await make()
        await store.remove(image.digest)
        const again = await make()
        await again.store.builtIn()
        console.log(again.store.rootPath(again.image.digest))`
      const { stdout } = await run('setpriv', [...asNobody, process.execPath, '--input-type=module', '--eval', script])
      await mountedFile(stdout.trim(), async (root) => {
        assert.equal(await readFile(join(root, 'closed/file'), 'utf8'), 'x')
        const owners = await Promise.all(['closed', 'closed/file', 'null', 'su'].map(async (name) => (await stat(join(root, name))).uid))
        assert.deepEqual(owners, [0, 0, 0, 0])
        assert.equal((await stat(join(root, 'su'))).mode & 0o7777, 0o4755)
        assert.equal((await stat(join(root, 'null'))).size, 0)
      })
      assert.deepEqual(await readdir(join(mine, 'data/images/.work')), [])
    } finally {
      await rm(mine, { recursive: true })
    }
  })
})
