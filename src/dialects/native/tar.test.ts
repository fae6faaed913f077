import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'
import type { CopyEntry, CopyItem } from '../../engine/host-port.ts'
import { packTar, unpackTar } from './tar.ts'

const entry = (path: string, more: Partial<CopyEntry> = {}): CopyItem => ({
  type: 'entry',
  entry: { path, kind: 'file', mode: 0o640, uid: 7, gid: 8, sizeBytes: 0, mtimeSeconds: 1_700_000_000, linkTarget: null, ...more },
})
const data = (text: string): CopyItem => ({ type: 'data', data: Buffer.from(text) })

async function* of(...items: readonly CopyItem[]): AsyncIterable<CopyItem> {
  yield* items
}

async function collect(items: AsyncIterable<CopyItem>): Promise<unknown[]> {
  const told: unknown[] = []
  for await (const item of items) told.push(item.type === 'data' ? Buffer.from(item.data).toString() : item.type === 'entry' ? item.entry : item)
  return told
}

async function tarOf(name: string, header: object = {}, body = ''): Promise<Buffer> {
  const tar = pack()
  tar.entry({ name, ...header }, body)
  tar.finalize()
  return Buffer.concat(await Readable.from(tar).toArray() as Buffer[])
}

test('a tree comes back as it went', async () => {
  const long = `deep/${'x'.repeat(200)}/é`
  const items = [
    entry('', { kind: 'directory', mode: 0o755 }),
    entry('a', { sizeBytes: 5 }),
    data('he'),
    data('llo'),
    entry('l', { kind: 'symlink', mode: 0o777, linkTarget: '../a' }),
    entry(long, { sizeBytes: 1 }),
    data('!'),
  ]
  const tar = packTar(of(...items), 'top', () => assert.fail('no error'))
  const back = await collect(unpackTar(tar, { gzip: false, keepOwner: true }))
  const expected = await collect(of(...items))
  const under = (value: unknown) => {
    const { path, ...rest } = value as CopyEntry
    return { path: path === '' ? 'top' : `top/${path}`, ...rest }
  }
  assert.equal(back.filter((each) => typeof each === 'string').join(''), 'hello!')
  assert.deepEqual(back.filter((each) => typeof each !== 'string'), expected.filter((each) => typeof each !== 'string').map(under))
})

test('a file that changes its size while it is read is cut or filled to the size that was told', async () => {
  const items = [entry('short', { sizeBytes: 4 }), data('ab'), entry('long', { sizeBytes: 2 }), data('abcdef'), entry('end', { sizeBytes: 1 }), data('z')]
  const back = await collect(unpackTar(packTar(of(...items), 't', () => undefined), { gzip: false, keepOwner: false }))
  const files = back.map((each) => (typeof each === 'string' ? each.replaceAll('\0', '0') : ` ${(each as CopyEntry).path}=`)).join('')
  assert.equal(files, ' t/short=ab00 t/long=ab t/end=z')
})

test('paths that could not be read are told beside the tar', async () => {
  const told: unknown[] = []
  const tar = packTar(of(entry('a', { sizeBytes: 1 }), data('x'), { type: 'error', path: 'b', message: 'no' }), 't', (failure) => told.push(failure))
  const back = await collect(unpackTar(tar, { gzip: false, keepOwner: false }))
  assert.equal(back.length, 2)
  assert.deepEqual(told, [{ path: 'b', message: 'no' }])
})

test('owners are kept only when they are asked for, and gzip is read', async () => {
  const zipped = gzipSync(await tarOf('./a', { uid: 5, gid: 6 }, 'x'))
  const [kept] = await collect(unpackTar(Readable.from([zipped]), { gzip: true, keepOwner: true }))
  const [own] = await collect(unpackTar(Readable.from([zipped]), { gzip: true, keepOwner: false }))
  const owner = (each: unknown) => [(each as CopyEntry).path, (each as CopyEntry).uid, (each as CopyEntry).gid]
  assert.deepEqual([owner(kept), owner(own)], [['a', 5, 6], ['a', null, null]])
})

const BAD: readonly (readonly [string, () => Promise<Buffer>, boolean, RegExp])[] = [
  ['a name that leads out', () => tarOf('../../etc/passwd', {}, 'x'), false, /leads out/],
  ['a hard link', () => tarOf('h', { type: 'link', linkname: 'a' }), false, /is a link; only files/],
  ['a device', () => tarOf('d', { type: 'character-device', devmajor: 1, devminor: 3 }), false, /is a character-device/],
  ['random bytes', async () => Buffer.alloc(4096, 'not a tar'), false, /can't be unpacked/],
  ['a tar that is cut', async () => (await tarOf('a', {}, 'x'.repeat(5000))).subarray(0, 3000), false, /can't be unpacked/],
  ['bytes that are no gzip', async () => Buffer.from('plain'), true, /can't be unpacked/],
]
for (const [name, bytes, gzip, says] of BAD) {
  test(`${name} is refused as invalid_archive`, async () => {
    const stream = Readable.from([await bytes()])
    await assert.rejects(collect(unpackTar(stream, { gzip, keepOwner: false })), (error: Error & { code?: string }) => {
      assert.match(error.message, says)
      assert.equal(error.code, 'invalid_archive')
      return true
    })
  })
}

test('a reader that goes away ends the source', async () => {
  let ended = false
  const endless = async function* (): AsyncIterable<CopyItem> {
    try {
      yield entry('big', { sizeBytes: 1 << 30 })
      for (;;) yield { type: 'data', data: Buffer.alloc(64 * 1024) }
    } finally {
      ended = true
    }
  }
  const tar = packTar(endless(), 't', () => undefined)
  await once(tar, 'readable')
  tar.destroy()
  for (let tries = 0; !ended && tries < 100; tries += 1) await new Promise((resolve) => setTimeout(resolve, 10))
  assert.equal(ended, true)
})
