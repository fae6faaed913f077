/** Images come from real registries: what a pull brings, which registries refuse, and what limits, aborts and crashes leave. */
import assert from 'node:assert/strict'
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import type { PullProgress } from '../src/engine/host-port.ts'
import { BerthError } from '../src/instance/errors.ts'
import { base, registry, guarded, store, dataDir, run, USER, useImagesLab, open, request, pullFrom, pull, fails, mounted, leftovers, bytesArrive, chunks, next } from './images-lab.ts'
import { noise, push, pushIndex, sha256, startRegistry, tar, tokenIssuer } from './registry-fixture.ts'

useImagesLab()

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
