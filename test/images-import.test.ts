/** Images that no registry has: archives that a client sends, and the one that Berth makes itself. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { lstat, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { base, store, run, useImagesLab, open, request, fails, mounted, leftovers, chunks, importBytes, importFile, next } from './images-lab.ts'
import { noise, sha256, tar, type TestImage, writeOciLayout } from './registry-fixture.ts'

useImagesLab()

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
