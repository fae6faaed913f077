/** Files and volumes of a real guest: copies in and out, stat, hot-plugged disks. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { CopyEntry, CopyItem } from '../src/engine/host-port.ts'
import type { GuestLink } from '../src/host/guest-link/link.ts'
import { BerthError, type ErrorCode } from '../src/instance/errors.ts'
import { collect, Machine, PLAIN_CONFIG, Workshop } from './guest-vm.ts'

const MiB = 1024 * 1024
const AT = 1_700_000_000

let workshop: Workshop
let machine: Machine
let link: GuestLink
let shared: string

before(async () => {
  workshop = await Workshop.open()
  const root = await workshop.busyboxRoot('busybox')
  const tree = join(workshop.dir, 'volume.tree')
  await mkdir(tree)
  await writeFile(join(tree, 'base'), 'from the base\n')
  shared = await workshop.ext4(64 * MiB, tree)
  machine = await Machine.boot(workshop, {
    disks: { root, overlay: await workshop.ext4(256 * MiB), 'vol-0': shared, 'vol-0-over': await workshop.ext4() },
    memoryMb: 512,
  })
  link = await machine.connect()
  await link.configure({
    ...PLAIN_CONFIG,
    volumes: [{ serial: 'vol-0', path: '/mnt/deep/layered', mode: 'overlay', overlaySerial: 'vol-0-over' }],
  })
})
after(async () => {
  link?.close()
  await machine?.kill()
  await workshop?.remove()
})

async function sh(script: string): Promise<string> {
  const session = await link.exec({ command: ['sh', '-c', script], env: {}, workingDir: null, user: null, tty: null, timeoutMs: null })
  await session.endInput()
  const { stdout, stderr } = await collect(session.output)
  await session.exit
  return stdout + stderr
}

function entry(path: string, more: Partial<CopyEntry> = {}): CopyItem {
  const kind = more.kind ?? 'file'
  return {
    type: 'entry',
    entry: { path, kind, mode: 0o644, uid: null, gid: null, sizeBytes: 0, mtimeSeconds: AT, linkTarget: null, ...more },
  }
}

function data(text: string): CopyItem {
  return { type: 'data', data: Buffer.from(text) }
}

async function* items(...all: CopyItem[]): AsyncGenerator<CopyItem> {
  yield* all
}

/** path → what it is, as one word a person can compare. */
async function out(path: string, followLinks = false): Promise<Record<string, string>> {
  const found: Record<string, string> = {}
  let current = ''
  for await (const item of link.copyOut(path, { followLinks })) {
    if (item.type === 'error') found[item.path] = `error: ${item.message}`
    else if (item.type === 'data') found[current] += Buffer.from(item.data).toString()
    else {
      current = item.entry.path
      const { kind, mode, linkTarget } = item.entry
      found[current] = kind === 'symlink' ? `-> ${linkTarget}` : kind === 'directory' ? `dir ${mode.toString(8)}` : `file ${mode.toString(8)} `
    }
  }
  return found
}

function fails(code: ErrorCode, pattern: RegExp): (error: unknown) => true {
  return (error) => {
    assert(error instanceof BerthError, String(error))
    assert.equal(error.code, code, error.message)
    assert.match(error.message, pattern)
    return true
  }
}

describe('copies', () => {
  test('a tree arrives with its modes, owners, dates and links, and goes out the same', async () => {
    const { bytesWritten } = await link.copyIn('/srv/tree', items(
      entry('', { kind: 'directory', mode: 0o750 }),
      entry('sub', { kind: 'directory', mode: 0o700, uid: 1000, gid: 1000 }),
      entry('sub/file', { mode: 0o4755, uid: 1000, gid: 50 }), data('some '), data('text'),
      entry('empty', { mode: 0o600 }),
      entry('link', { kind: 'symlink', linkTarget: 'sub/file', uid: 1000, gid: 1000 }),
      entry('made/on/the/way'), data('x'),
    ))
    assert.equal(bytesWritten, 10)
    assert.deepEqual(await out('/srv/tree'), {
      '': 'dir 750', sub: 'dir 700', 'sub/file': 'file 4755 some text', empty: 'file 600 ', link: '-> sub/file',
      made: 'dir 755', 'made/on': 'dir 755', 'made/on/the': 'dir 755', 'made/on/the/way': 'file 644 x',
    })
    assert.equal(await sh('cd /srv/tree && stat -c "%n %u %g %Y" sub sub/file link empty'),
      `sub 1000 1000 ${AT}\nsub/file 1000 50 ${AT}\nlink 1000 1000 ${AT}\nempty 0 0 ${AT}\n`)
    assert.deepEqual(await out('/srv/tree/sub/file'), { '': 'file 4755 some text' })
  })

  test('32 MiB go in and come out unchanged', async () => {
    const block = Buffer.alloc(MiB)
    for (let index = 0; index < block.length; index++) block[index] = (index * 31) >> 3
    const sent = createHash('sha256')
    async function* big(): AsyncGenerator<CopyItem> {
      yield entry('', { sizeBytes: 32 * MiB })
      for (let index = 0; index < 32; index++) {
        sent.update(block)
        yield { type: 'data', data: block }
      }
    }
    assert.equal((await link.copyIn('/srv/big', big())).bytesWritten, 32 * MiB)
    const received = createHash('sha256')
    for await (const item of link.copyOut('/srv/big', { followLinks: false })) if (item.type === 'data') received.update(item.data)
    assert.equal(received.digest('hex'), sent.digest('hex'))
  })

  test('a file replaces a file at once, and an existing directory keeps its mode', async () => {
    await link.copyIn('/srv/one', items(entry(''), data('old')))
    await link.copyIn('/srv/one', items(entry('', { mode: 0o640 }), data('new')))
    assert.deepEqual(await out('/srv/one'), { '': 'file 640 new' })
    await link.copyIn('/tmp', items(entry('', { kind: 'directory', mode: 0o700 }), entry('in-tmp')))
    assert.equal((await link.stat('/tmp', { followLinks: false })).mode, 0o1777)
  })

  test('a file onto a directory and a directory onto a file are refused', async () => {
    await assert.rejects(link.copyIn('/etc', items(entry(''), data('x'))), fails('guest_path', /cannot copy file: \/etc is a directory/))
    await assert.rejects(link.copyIn('/etc/hello', items(entry('', { kind: 'directory' }))), fails('guest_path', /cannot create directory: \/etc\/hello is a file/))
    await assert.rejects(link.copyIn('/etc/hello/below', items(entry(''))), fails('guest_path', /Not a directory/))
    assert.equal(await sh('cat /etc/hello'), 'hello from the image\n')
  })

  test('no entry leaves the directory it is copied to', async () => {
    for (const path of ['../x', 'a/../../x', '/x', '..']) {
      await assert.rejects(link.copyIn('/srv', items(entry(path))), fails('guest_path', /leaves the directory/))
    }
  })

  test('a copy that breaks off leaves nothing of its last file', async () => {
    async function* broken(): AsyncGenerator<CopyItem> {
      yield entry('whole')
      yield data('1')
      yield entry('half')
      yield data('2')
      while (!(await sh('ls -A /srv/broken')).includes('.berth-copy')) continue
      throw new BerthError('cancelled', 'the client went away')
    }
    await assert.rejects(link.copyIn('/srv/broken', broken()), fails('cancelled', /went away/))
    assert.equal(await sh('for i in 1 2 3 4 5 6 7 8 9; do ls -A /srv/broken | grep -q berth-copy || break; sleep 0.2; done; ls -A /srv/broken'), 'whole\n')
  })

  test('a full disk is said', async () => {
    async function* endless(): AsyncGenerator<CopyItem> {
      yield entry('')
      for (let index = 0; index < 512; index++) yield { type: 'data', data: Buffer.alloc(MiB) }
    }
    await assert.rejects(link.copyIn('/srv/full', endless()), fails('guest_path', /no space left/))
    assert.equal((await link.stat('/srv/full', { followLinks: false })).exists, false)
  })

  test('what cannot be read is an item, and the walk goes on', async () => {
    await sh('mkdir -p /srv/mixed && cd /srv/mixed && mkfifo pipe && echo a > a && ln -s gone dangling && ln -s . loop')
    const plain = await out('/srv/mixed')
    assert.deepEqual(plain, { '': 'dir 755', a: 'file 644 a\n', dangling: '-> gone', loop: '-> .', pipe: plain['pipe'] })
    assert.match(plain['pipe'] ?? '', /^error: .*neither/)
    const followed = await out('/srv/mixed', true)
    assert.match(followed['dangling'] ?? '', /^error: No such file/)
    assert.match(followed['loop'] ?? '', /^error: .*leads back/)
    assert.equal(followed['a'], 'file 644 a\n')
    assert.deepEqual(await out('/not/there'), { '': 'error: No such file or directory' })
  })

  test('a reader that stops early ends the walk in the guest', async () => {
    for await (const item of link.copyOut('/proc/kmsg', { followLinks: false })) assert(item)
    for (let round = 0; round < 20; round++) {
      for await (const item of link.copyOut('/srv/big', { followLinks: false })) if (item.type === 'data') break
    }
    // The last of them may still be on its way out.
    assert.equal(await sh('for i in 1 2 3 4 5 6 7 8 9; do n=$(ps -o args | grep -c "^/init"); [ $n = 1 ] && break; sleep 0.2; done; echo $n'), '1\n')
  })
})

describe('stat', () => {
  test('tells what is there', async () => {
    await sh('cd /srv && echo 12345 > s && chmod 640 s && chown 1000:50 s && touch -d @1700000000 s && ln -s s l && ln -s nowhere d')
    const file = { exists: true, kind: 'file', mode: 0o640, sizeBytes: 6, uid: 1000, gid: 50, mtimeSeconds: AT, linkTarget: null, error: null }
    assert.deepEqual(await link.stat('/srv/s', { followLinks: false }), file)
    assert.deepEqual(await link.stat('/srv/l', { followLinks: true }), file)
    const symlink = await link.stat('/srv/l', { followLinks: false })
    assert.deepEqual([symlink.kind, symlink.linkTarget], ['symlink', 's'])
    assert.equal((await link.stat('/srv', { followLinks: false })).kind, 'directory')
    assert.equal((await link.stat('/dev/null', { followLinks: false })).kind, 'other')
    for (const path of ['/srv/none', '/srv/s/below']) assert.deepEqual((await link.stat(path, { followLinks: false })).exists, false)
    assert.equal((await link.stat('/srv/d', { followLinks: true })).exists, false)
    const long = await link.stat(`/${'x'.repeat(300)}`, { followLinks: false })
    assert.deepEqual([long.exists, long.error], [false, 'Filename too long'])
    await assert.rejects(link.stat('relative', { followLinks: false }), fails('guest_path', /absolute/))
  })
})

describe('volumes', () => {
  const plug = async (id: string, file: string, port: number, readOnly = false): Promise<void> => {
    await machine.qmp('blockdev-add', { driver: 'raw', 'node-name': id, 'read-only': readOnly, file: { driver: 'file', filename: file, locking: 'off' } })
    await machine.qmp('device_add', { driver: 'virtio-blk-pci', drive: id, serial: id, id, bus: `spare${port}` })
  }
  const unplug = async (id: string): Promise<void> => {
    await machine.qmp('device_del', { id })
    const deadline = Date.now() + 60_000
    for (;;) {
      const done = await machine.qmp('blockdev-del', { 'node-name': id }).then(() => true, () => false)
      if (done) return
      assert(Date.now() < deadline, 'the disk was not let go')
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }

  test('an overlay shows the base and keeps what is written apart', async () => {
    assert.equal(await sh('cat /mnt/deep/layered/base; echo changed > /mnt/deep/layered/base; cat /mnt/deep/layered/base'), 'from the base\nchanged\n')
    // What it was made from is out of sight again; the two that stay are the agent's own.
    assert.equal(await sh('ls -A /dev/.berth; grep -c " /dev/.berth/[^ps]" /proc/mounts'), 'private\nssh\n0\n')
  })

  test('a disk plugged into the running guest is mounted, kept, busy while in use, and let go', async () => {
    const disk = await workshop.ext4()
    await plug('vol-7', disk, 0)
    const seven = { serial: 'vol-7', path: '/data/seven', mode: 'rw', overlaySerial: null } as const
    await link.mountVolume(seven)
    await link.mountVolume(seven)
    assert.equal(await sh('grep -c " /data/seven " /proc/mounts'), '1\n')
    await sh('echo kept > /data/seven/file')
    const holder = await link.exec({ command: ['sh', '-c', 'cd /data/seven; echo in; sleep 1000'], env: {}, workingDir: null, user: null, tty: null, timeoutMs: null })
    await holder.output[Symbol.asyncIterator]().next()
    await assert.rejects(link.unmountVolume('/data/seven'), fails('volume_in_use', /in use/))
    holder.close()
    await sh('for i in 1 2 3 4 5 6 7 8 9; do ps | grep -q "[s]leep 1000" || break; sleep 0.2; done')
    await link.unmountVolume('/data/seven')
    await link.unmountVolume('/data/seven')
    await unplug('vol-7')
    await plug('vol-8', disk, 0, true)
    await link.mountVolume({ serial: 'vol-8', path: '/data/eight', mode: 'ro', overlaySerial: null })
    assert.match(await sh('cat /data/eight/file; touch /data/eight/x'), /^kept\n.*Read-only/)
    await link.unmountVolume('/data/eight')
    await unplug('vol-8')
  })

  test('a mount whose disk never comes is refused, and one onto a file', async () => {
    await assert.rejects(link.mountVolume({ serial: 'vol-none', path: '/data/none', mode: 'rw', overlaySerial: null }), fails('device_not_found', /vol-none/))
    await assert.rejects(link.mountVolume({ serial: 'vol-0', path: '/etc/hello', mode: 'rw', overlaySerial: null }), fails('guest_path', /\/etc\/hello/))
  })
})
