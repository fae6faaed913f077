/** Images from real registries: what arrives, what is refused, what is left behind. Needs root and docker-registry. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { lstat, mkdir, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, beforeEach, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import type { HostImage, PullProgress, PullRequest } from '../src/engine/host-port.ts'
import { openImageStore, type ImageStore, type ImageStoreOptions } from '../src/host/images/image-store.ts'
import { BerthError, type ErrorCode } from '../src/instance/errors.ts'
import {
  noise,
  push,
  pushIndex,
  sha256,
  startRegistry,
  tar,
  temporaryDirectory,
  tokenIssuer,
  type Registry,
  type TestImage,
  writeOciLayout,
} from './registry-fixture.ts'

const run = promisify(execFile)
const USER = { username: 'ada', password: 'correct horse' }

let base: string
let registry: Registry
let guarded: Registry
let next = 0
let store: ImageStore
let dataDir: string
const opened: ImageStore[] = []

before(async () => {
  base = await temporaryDirectory()
  await Promise.all(['open', 'guarded'].map((name) => mkdir(join(base, name))))
  registry = await startRegistry(join(base, 'open'))
  guarded = await startRegistry(join(base, 'guarded'), { kind: 'password', ...USER })
})

after(async () => {
  await Promise.all(opened.map((one) => one.close()))
  await registry.kill()
  await guarded.kill()
  await rm(base, { recursive: true })
})

beforeEach(async () => {
  dataDir = join(base, `data-${(next += 1)}`)
  store = await open({ minFreeBytes: 0 })
})

describe('a pull', () => {
  test('by tag brings the manifest that the tag means, its config and its files', async () => {
    const config = {
      Entrypoint: ['/app', '--serve'],
      Cmd: ['now'],
      Env: ['PATH=/bin', 'GREETING=a=b', 'EMPTY='],
      WorkingDir: '/srv/app',
      User: 'app:staff',
      StopSignal: 'SIGINT',
      ExposedPorts: { '8080/tcp': {}, '53/udp': {} },
    }
    const digest = await push(registry.host, 'by-tag:v1', { layers: [tar([{ name: 'app', data: 'hello', mode: 0o755 }])], config })
    const image = await pull('by-tag:v1')
    assert.equal(image.digest, digest)
    assert.deepEqual(image.config, {
      entrypoint: ['/app', '--serve'],
      cmd: ['now'],
      env: { PATH: '/bin', GREETING: 'a=b', EMPTY: '' },
      workingDir: '/srv/app',
      user: 'app:staff',
      stopSignal: 'SIGINT',
      exposedPorts: ['53/udp', '8080/tcp'],
    })
    assert.equal(image.sizeBytes, (await stat(store.rootPath(image.digest))).size)
    await mounted(image, async (root) => assert.equal(await readFile(join(root, 'app'), 'utf8'), 'hello'))
  })

  test('by digest brings that manifest though the tag has moved on', async () => {
    const first = await push(registry.host, 'moving:latest', { layers: [tar([{ name: 'one', data: '1' }])] })
    const second = await push(registry.host, 'moving:latest', { layers: [tar([{ name: 'two', data: '2' }])] })
    assert.equal((await pull(`moving@${first}`)).digest, first)
    assert.equal((await pull('moving:latest')).digest, second)
  })

  test('of an image that is there already downloads and converts nothing', async () => {
    await push(registry.host, 'twice:latest', { layers: [tar([{ name: 'file', data: noise(100_000) }])] })
    const image = await pull('twice:latest')
    const { ino } = await stat(store.rootPath(image.digest))
    const seen: PullProgress[] = []
    assert.deepEqual(await pull('twice:latest', { onProgress: (progress) => seen.push(progress) }), image)
    assert.equal((await stat(store.rootPath(image.digest))).ino, ino)
    assert.ok(!seen.some((progress) => progress.status === 'converting'))
  })

  test('by many at once does the work once, and everyone sees its progress', async () => {
    await push(registry.host, 'together:latest', { layers: [tar([{ name: 'file', data: noise(20_000_000) }])] })
    const seen = [new Set<string>(), new Set<string>(), new Set<string>()]
    const images = await Promise.all(seen.map((set) => pull('together:latest', { onProgress: ({ status }) => set.add(status) })))
    assert.equal(new Set(images.map((image) => image.digest)).size, 1)
    assert.equal((await readdir(join(dataDir, 'images'))).filter((name) => /^[0-9a-f]{64}$/.test(name)).length, 1)
    assert.ok(seen.filter((set) => set.has('converting')).length >= 1)
    assert.deepEqual(await leftovers(), [])
  })

  test('tells how much has arrived, never backwards', async () => {
    await push(registry.host, 'large:latest', { layers: [tar([{ name: 'file', data: noise(150_000_000) }])] })
    const fractions: number[] = []
    await pull('large:latest', { onProgress: ({ fraction }) => fraction !== null && fractions.push(fraction) })
    assert.ok(fractions.length > 0)
    assert.deepEqual(fractions, fractions.toSorted((a, b) => a - b))
    assert.ok(fractions.every((fraction) => fraction >= 0 && fraction <= 1))
  })

  test('shares layers with earlier pulls', async () => {
    const shared = tar([{ name: 'shared', data: noise(1_000_000) }])
    await push(registry.host, 'layers-a:latest', { layers: [shared, tar([{ name: 'a', data: 'a' }])] })
    await push(registry.host, 'layers-b:latest', { layers: [shared, tar([{ name: 'b', data: 'b' }])] })
    await pull('layers-a:latest')
    const { imageCacheBytes: before } = await store.diskUse()
    const image = await pull('layers-b:latest')
    assert.ok((await store.diskUse()).imageCacheBytes - before < 100_000)
    await mounted(image, async (root) => assert.deepEqual((await readdir(root)).sort(), ['b', 'shared']))
  })

  test('gives the same file whenever and wherever it is made', async () => {
    await push(registry.host, 'same:latest', { layers: [tar([{ name: 'implied/by/path', data: 'x' }, { name: 'y', data: 'y', mtime: 1 }])] })
    const first = await pull('same:latest')
    const bytes = await readFile(store.rootPath(first.digest))
    await store.remove(first.digest)
    await sleep(1100)
    const again = await pull('same:latest')
    assert.equal(sha256(await readFile(store.rootPath(again.digest))), sha256(bytes))
    await mounted(again, async (root) => assert.equal((await stat(join(root, 'y'))).mtimeMs, 1000))
  })

  test('of a compressed image unpacks gzip and zstd layers', async () => {
    const layer = tar([{ name: 'file', data: 'squeezed' }])
    for (const [kind, bytes] of [['gzip', gzipSync(layer)], ['zstd', zstdCompressSync(layer)]] as const) {
      const layerType = `application/vnd.oci.image.layer.v1.tar+${kind}`
      const digest = await push(registry.host, `packed:${kind}`, { layers: [bytes], layerType, diffIds: [sha256(layer)] })
      const image = await pull(`packed:${kind}`)
      assert.equal(image.digest, digest)
      await mounted(image, async (root) => assert.equal(await readFile(join(root, 'file'), 'utf8'), 'squeezed'))
      await store.remove(image.digest)
    }
  })
})

describe('platforms', () => {
  test('an index gives the wanted platform, the host its own, and an unknown one is refused by name', async () => {
    const digests: Record<string, string> = {}
    for (const architecture of ['amd64', 'arm64']) {
      digests[architecture] = await push(registry.host, `multi:${architecture}`, { layers: [tar([{ name: architecture, data: architecture }])], architecture })
    }
    await pushIndex(registry.host, 'multi', 'latest', [
      { digest: String(digests['arm64']), platform: { os: 'linux', architecture: 'arm64', variant: 'v8' } },
      { digest: String(digests['amd64']), platform: { os: 'linux', architecture: 'amd64' } },
    ])
    assert.equal((await pull('multi:latest', { platform: 'linux/arm64' })).digest, digests['arm64'])
    assert.equal((await pull('multi:latest', { platform: 'linux/arm64/v8' })).digest, digests['arm64'])
    assert.equal((await pull('multi:latest', { platform: 'linux/amd64' })).digest, digests['amd64'])
    const refused = await fails('image_not_found', pull('multi:latest', { platform: 'linux/riscv64' }))
    assert.match(refused.message, /linux\/riscv64.*linux\/arm64\/v8, linux\/amd64/)
    await fails('invalid_request', pull('multi:latest', { platform: '--help' }))
  })

  test('an image of one other platform is refused', async () => {
    await push(registry.host, 'foreign:latest', { layers: [tar([{ name: 'x', data: 'x' }])], architecture: 's390x' })
    assert.match((await fails('image_not_found', pull('foreign:latest'))).message, /made for linux\/s390x/)
    assert.deepEqual(store.list(), [])
  })
})

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

describe('registries that refuse or fail', () => {
  test('an unknown image, an unknown tag and an unknown digest are image_not_found', async () => {
    await push(registry.host, 'known:latest', { layers: [tar([{ name: 'x', data: 'x' }])] })
    for (const name of ['unknown:latest', 'known:nope', `known@sha256:${'0'.repeat(64)}`, 'denied:latest', 'x404/timeout:latest']) {
      const failure = await fails('image_not_found', pull(name))
      assert.match(failure.message, /^There is no image /)
    }
  })

  test('nothing listens: registry_unreachable', async () => {
    await fails('registry_unreachable', pullFrom('127.0.0.1:1', 'x:latest'))
    await fails('registry_unreachable', pullFrom('no-such-host.invalid', 'x:latest'))
  })

  test('plain HTTP is for loopback and configured registries only', async () => {
    const { isInsecure } = await import('../src/host/images/registry.ts')
    assert.ok(isInsecure('localhost:5000', []) && isInsecure('127.0.0.1:5000', []) && isInsecure('registry.lan:5000', ['registry.lan:5000']))
    assert.ok(isInsecure('registry.lan:5000', ['registry.lan']))
    assert.ok(!isInsecure('docker.io', ['registry.lan']) && !isInsecure('registry.lan:5001', ['registry.lan:5000']))
    const { port } = new URL(`http://${registry.host}`)
    const { stdout } = await run('hostname', ['-I'])
    const [address] = stdout.trim().split(' ')
    if (address === undefined || address === '') return
    // Nothing listens there, but before that an untrusted scheme may not even be tried.
    await fails('registry_unreachable', pullFrom(`${address}:${port}`, 'x:latest'))
  })

  test('credentials open what is closed; wrong ones, and none, are registry_denied', async () => {
    const digest = await push(guarded.host, 'secret:latest', { layers: [tar([{ name: 'x', data: 'x' }])] }, { creds: `${USER.username}:${USER.password}` })
    await fails('registry_denied', pullFrom(guarded.host, 'secret:latest'))
    await fails('registry_denied', pullFrom(guarded.host, 'secret:latest', { credentials: { ...USER, password: 'wrong' } }))
    await fails('registry_denied', pullFrom(guarded.host, 'secret:latest', { credentials: { token: 'nonsense' } }))
    assert.equal((await pullFrom(guarded.host, 'secret:latest', { credentials: USER })).digest, digest)
    assert.deepEqual(await leftovers(), [])
  })

  test('a registry token opens what it is for, and is never seen in an argument list', async () => {
    const issuer = await tokenIssuer(base)
    await mkdir(join(base, 'tokens'), { recursive: true })
    const tokens = await startRegistry(join(base, 'tokens'), { kind: 'token', certificate: issuer.certificate, storage: join(base, 'open/storage') })
    try {
      const digest = await push(registry.host, 'team/tokened:latest', { layers: [tar([{ name: 'file', data: noise(100_000_000) }])] })
      const token = issuer.issue('team/tokened')
      await fails('registry_denied', pullFrom(tokens.host, 'team/tokened:latest'))
      await fails('registry_denied', pullFrom(tokens.host, 'team/tokened:latest', { credentials: { token: issuer.issue('team/other') } }))
      await fails('image_not_found', pullFrom(tokens.host, 'team/tokened:nope', { credentials: { token } }))
      const pulling = pullFrom(tokens.host, 'team/tokened:latest', { credentials: { token } })
      await bytesArrive(1_000_000)
      const { stdout } = await run('ps', ['-e', '-ww', '-o', 'args'])
      assert.ok(stdout.includes('skopeo') && !stdout.includes(token))
      assert.equal((await pulling).digest, digest)
    } finally {
      await tokens.kill()
    }
  })

  test('a registry that dies while a layer streams is registry_unreachable, and the next try succeeds', async () => {
    const digest = await push(registry.host, 'dying:latest', { layers: [tar([{ name: 'small', data: 'x' }]), tar([{ name: 'file', data: noise(300_000_000) }])] })
    const pulling = fails('registry_unreachable', pull('dying:latest'))
    await bytesArrive(5_000_000)
    await registry.kill()
    await pulling
    assert.deepEqual(store.list(), [])
    assert.deepEqual(await leftovers(), [])
    await registry.again()
    assert.equal((await pull('dying:latest')).digest, digest)
  })

  test('names that are no references are refused before anything runs', async () => {
    for (const name of ['alpine', '--help', `${registry.host}/x`, `${registry.host}/x@sha256:1`, `${registry.host}/x:a b`, '']) {
      await fails('invalid_image_name', store.pull(request(name)))
    }
  })
})

describe('limits, aborts and crashes', () => {
  test('a full disk is disk_full, and nothing stays of the image', async () => {
    const small = join(base, `small-${next}`)
    await mkdir(small)
    await run('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', small])
    try {
      const zeros = tar([{ name: 'file', data: Buffer.alloc(50_000_000) }])
      await push(registry.host, 'unpacks-large:latest', { layers: [gzipSync(zeros)], layerType: 'application/vnd.oci.image.layer.v1.tar+gzip', diffIds: [sha256(zeros)] })
      await push(registry.host, 'downloads-large:latest', { layers: [tar([{ name: 'file', data: noise(20_000_000) }])] })
      const tiny = await open({ dataDir: small, minFreeBytes: 0 })
      await fails('disk_full', tiny.pull(request(`${registry.host}/unpacks-large:latest`)))
      await fails('disk_full', tiny.pull(request(`${registry.host}/downloads-large:latest`)))
      await fails('disk_full', tiny.import(chunks(noise(20_000_000)), () => undefined))
      assert.deepEqual(await readdir(join(small, 'images/.work')), [])
      await tiny.close()
      const careful = await open({ dataDir: small, minFreeBytes: 1024 ** 3 })
      await fails('disk_full', careful.pull(request(`${registry.host}/unpacks-large:latest`)))
      await careful.close()
    } finally {
      await run('umount', [small])
    }
  })

  test('an abort ends the download and leaves nothing but what had arrived whole', async () => {
    await push(registry.host, 'aborted:latest', { layers: [tar([{ name: 'file', data: noise(300_000_000) }])] })
    const controller = new AbortController()
    const pulling = fails('cancelled', pull('aborted:latest', { signal: controller.signal }))
    await bytesArrive(1_000_000)
    controller.abort()
    await pulling
    assert.deepEqual(await leftovers(), [])
    await fails('cancelled', pull('aborted:latest', { signal: AbortSignal.abort() }))
  })

  test('whoever leaves a shared pull leaves it running for the others', async () => {
    const digest = await push(registry.host, 'left:latest', { layers: [tar([{ name: 'file', data: noise(200_000_000) }])] })
    const controller = new AbortController()
    const leaving = fails('cancelled', pull('left:latest', { signal: controller.signal }))
    await bytesArrive(1_000_000)
    const staying = pull('left:latest')
    await sleep(500)
    controller.abort()
    await leaving
    assert.equal((await staying).digest, digest)
    assert.deepEqual(await leftovers(), [])
  })

  test('more than a few at once wait in line and are told their place', async () => {
    const names = ['q1', 'q2', 'q3', 'q4']
    for (const name of names) await push(registry.host, `${name}:latest`, { layers: [tar([{ name, data: noise(1_000_000) }])] })
    const one = await open({ dataDir: join(base, `queue-${next}`), runningLimit: 1, minFreeBytes: 0 })
    const places = new Map<string, number[]>(names.map((name) => [name, []]))
    const pulls = names.map((name) =>
      one.pull({
        ...request(`${registry.host}/${name}:latest`),
        onProgress: ({ queuePosition }) => queuePosition !== undefined && places.get(name)?.push(queuePosition),
      }),
    )
    await sleep(0)
    assert.deepEqual(one.queue(), { running: 1, waiting: 3 })
    await Promise.all(pulls)
    assert.deepEqual([...places.values()], [[], [1], [2, 1], [3, 2, 1]])
    assert.deepEqual(one.queue(), { running: 0, waiting: 0 })
  })

  test('what a killed server left half done is swept at the next open, and finished images are found again', async () => {
    await push(registry.host, 'survives:latest', { layers: [tar([{ name: 'x', data: 'x' }])] })
    const image = await pull('survives:latest')
    await store.close()
    await mkdir(join(dataDir, 'images/.work/w-dead/rootfs'), { recursive: true })
    await mkdir(join(dataDir, 'images', 'f'.repeat(64)))
    await writeFile(join(dataDir, 'images', 'f'.repeat(64), 'root.erofs'), 'half')
    const again = await open({ minFreeBytes: 0 })
    assert.deepEqual(again.list(), [image])
    assert.deepEqual(again.get(image.digest), image)
    assert.deepEqual(await leftovers(), [])
    assert.deepEqual((await readdir(join(dataDir, 'images'))).sort(), [image.digest.slice(7), '.work'].sort())
  })

  test('closing ends what runs', async () => {
    await push(registry.host, 'closing:latest', { layers: [tar([{ name: 'file', data: noise(300_000_000) }])] })
    const pulling = fails('shutting_down', pull('closing:latest'))
    await bytesArrive(1_000_000)
    await store.close()
    await pulling
    assert.deepEqual(await leftovers(), [])
    await fails('shutting_down', pull('closing:latest'))
  })
})

describe('removing', () => {
  test('takes the root and the layers that no other image needs', async () => {
    const shared = tar([{ name: 'shared', data: noise(1_000_000) }])
    await push(registry.host, 'gc-a:latest', { layers: [shared, tar([{ name: 'a', data: noise(500_000) }])] })
    await push(registry.host, 'gc-b:latest', { layers: [shared, tar([{ name: 'b', data: 'b' }])] })
    const a = await pull('gc-a:latest')
    const b = await pull('gc-b:latest')
    await store.remove(a.digest)
    assert.throws(() => store.rootPath(a.digest), (error: unknown) => error instanceof BerthError && error.code === 'image_not_found')
    const { imageCacheBytes } = await store.diskUse()
    assert.ok(imageCacheBytes > 1_000_000 && imageCacheBytes < 1_100_000, `${imageCacheBytes}`)
    await store.remove(a.digest)
    await store.remove(b.digest)
    assert.deepEqual(await store.diskUse(), { imagesBytes: 0, imageCacheBytes: 0 })
    assert.equal((await pull('gc-a:latest')).digest, a.digest)
  })
})

describe('archives', () => {
  test('an OCI archive and a docker save tar are told apart and read', async () => {
    const config = { Cmd: ['/x'], WorkingDir: '/w' }
    const image: TestImage = { layers: [tar([{ name: 'x', data: 'from an archive' }])], config }
    const dir = join(base, `layout-${next}`)
    const { digest } = await writeOciLayout(dir, image)
    const oci = join(base, `oci-${next}.tar`)
    const docker = join(base, `docker-${next}.tar`)
    await run('tar', ['-C', dir, '-cf', oci, '.'])
    await run('skopeo', ['--insecure-policy', 'copy', '--quiet', `oci:${dir}:test`, `docker-archive:${docker}:example.com/x:latest`])
    const plain = await importFile(oci)
    assert.equal(plain.config.workingDir, '/w')
    const saved = await importFile(docker)
    for (const one of [plain, saved, await importBytes(gzipSync(await readFile(docker))), await importBytes(zstdCompressSync(await readFile(oci)))]) {
      assert.deepEqual(one.config.cmd, ['/x'])
      await mounted(one, async (root) => assert.equal(await readFile(join(root, 'x'), 'utf8'), 'from an archive'))
    }
    assert.ok(digest.startsWith('sha256:'))
    assert.equal((await importFile(docker)).digest, saved.digest)
    assert.deepEqual(await leftovers(), [])
  })

  test('of several images in a docker save tar the first is taken', async () => {
    const archive = join(base, `many-${next}.tar`)
    const dirs = ['first', 'second'].map((name) => join(base, `${name}-${next}`))
    for (const dir of dirs) await writeOciLayout(dir, { layers: [tar([{ name: dir.includes('first') ? 'first' : 'second', data: 'x' }])] })
    const trees = join(base, `trees-${next}`)
    await mkdir(trees)
    const manifests: unknown[] = []
    for (const [index, dir] of dirs.entries()) {
      const one = join(base, `one-${next}-${index}.tar`)
      await run('skopeo', ['--insecure-policy', 'copy', '--quiet', `oci:${dir}:test`, `docker-archive:${one}:example.com/x:${index}`])
      await run('tar', ['-C', trees, '-xf', one])
      manifests.push(...(JSON.parse(await readFile(join(trees, 'manifest.json'), 'utf8')) as unknown[]))
    }
    await writeFile(join(trees, 'manifest.json'), JSON.stringify(manifests))
    await run('tar', ['-C', trees, '-cf', archive, '.'])
    await mounted(await importFile(archive), async (root) => assert.deepEqual(await readdir(root), ['first']))
  })

  test('what is no archive, a cut one, an empty one, a hostile one and one too large are refused', async () => {
    const dir = join(base, `bad-${next}`)
    await writeOciLayout(dir, { layers: [tar([{ name: 'x', data: noise(100_000) }])] })
    const { stdout: whole } = await run('tar', ['-C', dir, '-c', '.'], { encoding: 'buffer', maxBuffer: 1e8 })
    const marker = `berth-archive-escape-${process.pid}`
    const hostile = tar([
      { name: `${'../'.repeat(15)}tmp/${marker}`, data: 'x' },
      { name: 'oci-layout', data: '{"imageLayoutVersion":"1.0.0"}' },
      { name: 'index.json', data: await readFile(join(dir, 'index.json')) },
    ])
    for (const bytes of [noise(4000), whole.subarray(0, whole.length - 60_000), Buffer.alloc(0), gzipSync(whole).subarray(0, 50_000), zstdCompressSync(whole).subarray(0, 50_000), tar([{ name: 'readme', data: 'x' }]), hostile]) {
      await fails('invalid_archive', importBytes(bytes))
    }
    await assert.rejects(lstat(`/tmp/${marker}`))
    const small = await open({ dataDir: join(base, `small-archive-${next}`), archiveLimitBytes: whole.length, minFreeBytes: 0 })
    await small.import(chunks(whole), () => undefined)
    await fails('archive_too_large', small.import(chunks(Buffer.concat([whole, Buffer.alloc(1)])), () => undefined))
    await fails('archive_too_large', small.import(chunks(gzipSync(Buffer.alloc(whole.length + 1))), () => undefined))
  })

  test('a sender that falls silent keeps nobody from closing', async () => {
    const silent = async function* (): AsyncGenerator<Uint8Array> {
      yield noise(100)
      await new Promise(() => undefined)
    }
    const importing = fails('shutting_down', store.import(silent(), () => undefined))
    await sleep(50)
    await store.close()
    await importing
  })
})

describe('the built-in image', () => {
  test('is made without a network, is the same again, and runs', async () => {
    const image = await store.builtIn()
    assert.deepEqual(await store.pull(request('localhost/busybox:latest')), image)
    const { mtimeMs } = await stat(store.rootPath(image.digest))
    const reopened = await open({ minFreeBytes: 0 })
    assert.deepEqual(await reopened.builtIn(), image)
    assert.equal((await stat(store.rootPath(image.digest))).mtimeMs, mtimeMs)
    const elsewhere = await open({ dataDir: join(base, `elsewhere-${next}`), minFreeBytes: 0 })
    const other = await elsewhere.builtIn()
    assert.deepEqual(other, image)
    assert.equal(sha256(await readFile(elsewhere.rootPath(other.digest))), sha256(await readFile(store.rootPath(image.digest))))
    await mounted(image, async (root) => {
      const { stdout } = await run('chroot', [root, '/bin/sh', '-c', 'id -un; echo a b | awk "{print \\$2}"; stat -c %a /tmp'])
      assert.equal(stdout, 'root\nb\n1777\n')
      assert.match(await readFile(join(root, 'etc/passwd'), 'utf8'), /^nobody:/m)
    })
    await store.remove(image.digest)
    assert.deepEqual(await store.builtIn(), image)
  })

  test('says that it is ready, stays, and stops with 0', async () => {
    const { config } = await store.builtIn()
    const [shell, ...args] = config.cmd
    const child = execFile(shell ?? '', args)
    let output = ''
    child.stdout?.on('data', (text: string) => (output += text))
    const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
    while (!output.includes('\n')) await sleep(10)
    assert.equal(output, 'localhost/busybox is ready\n')
    child.kill('SIGTERM')
    assert.equal(await ended, 0)
  })

  test('is refused where there is no static busybox', async () => {
    const none = await open({ dataDir: join(base, `none-${next}`), busyboxPath: '/nonexistent/busybox' })
    await fails('host_unavailable', none.builtIn())
    const dynamic = await open({ dataDir: join(base, `dynamic-${next}`), busyboxPath: process.execPath })
    assert.match((await fails('host_unavailable', dynamic.builtIn())).message, /busybox-static/)
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

async function open(options: Partial<ImageStoreOptions>): Promise<ImageStore> {
  const one = await openImageStore({ dataDir, ...options })
  opened.push(one)
  return one
}

function request(name: string, options: Partial<PullRequest> = {}): PullRequest {
  return { name, credentials: null, platform: null, onProgress: () => undefined, signal: new AbortController().signal, ...options }
}

function pullFrom(host: string, name: string, options: Partial<PullRequest> = {}): Promise<HostImage> {
  return store.pull(request(`${host}/${name}`, options))
}

function pull(name: string, options: Partial<PullRequest> = {}): Promise<HostImage> {
  return pullFrom(registry.host, name, options)
}

async function pullNew(name: string, image: TestImage): Promise<HostImage> {
  await push(registry.host, `${name}:latest`, image)
  return await pull(`${name}:latest`)
}

async function fails(code: ErrorCode, work: Promise<unknown>): Promise<BerthError> {
  try {
    await work
  } catch (error) {
    assert.ok(error instanceof BerthError, String(error))
    assert.equal(error.code, code, `${error.message} ${String(error.cause)}`)
    return error
  }
  throw new assert.AssertionError({ message: `no ${code}` })
}

/** Reads the erofs back the way a kernel does. */
async function mounted(image: HostImage, look: (root: string) => Promise<void>): Promise<void> {
  await mountedFile(store.rootPath(image.digest), look)
}

async function mountedFile(file: string, look: (root: string) => Promise<void>): Promise<void> {
  const point = join(base, 'mounted')
  await mkdir(point, { recursive: true })
  await run('mount', ['-t', 'erofs', '-o', 'loop,ro', file, point])
  try {
    await look(point)
  } finally {
    await run('umount', [point])
  }
}

async function leftovers(): Promise<readonly string[]> {
  return await readdir(join(dataDir, 'images/.work'))
}

/** Resolves when a download is under way and far from its end. */
async function bytesArrive(bytes: number): Promise<void> {
  const work = join(dataDir, 'images/.work')
  for (;;) {
    const { stdout } = await run('du', ['-sb', work]).catch(() => ({ stdout: '0' }))
    if (Number.parseInt(stdout, 10) > bytes) return
    await sleep(5)
  }
}

async function* chunks(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536)
}

function importBytes(bytes: Uint8Array): Promise<HostImage> {
  return store.import(chunks(bytes), () => undefined)
}

async function importFile(path: string): Promise<HostImage> {
  return await importBytes(await readFile(path))
}
