/** A guest that was built from other sources than the server has: it is built anew, or the server says so at its start. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { GUEST_SOURCES_DIR, whyStale } from '../src/host/qemu/guest-build.ts'
import { startBerth } from './support/berth-command.ts'
import { buildGuest } from './guest-vm.ts'
import { GUEST_DIR } from './host-lab.ts'

const run = promisify(execFile)
const REPOSITORY = join(import.meta.dirname, '..')

let dir = ''

before(async () => {
  await buildGuest()
  dir = mkdtempSync(join(tmpdir(), 'bt-build-'))
})
after(() => rmSync(dir, { recursive: true, force: true }))

/** A guest like the one that was built, with that line about its sources. */
function builtWith(name: string, sources: string): string {
  const built = join(dir, name)
  mkdirSync(built)
  for (const file of ['vmlinuz', 'initramfs.gz']) symlinkSync(join(GUEST_DIR, file), join(built, file))
  const version = readFileSync(join(GUEST_DIR, 'version'), 'utf8').replace(/^sources=.*\n/m, sources)
  writeFileSync(join(built, 'version'), version)
  return built
}

describe('a server', () => {
  it('takes a guest that was built from its own sources', async () => {
    assert.equal(await whyStale(GUEST_DIR), null)
  })

  for (const [what, line] of [['other sources', `sources=${'0'.repeat(24)}\n`], ['sources that it does not tell', '']] as const) {
    it(`refuses at its start a guest that was built from ${what}, and says what to run`, async () => {
      const guestDir = builtWith(what.replaceAll(' ', '-'), line)
      const env = { PATH: process.env['PATH'] ?? '', HOME: dir, BERTH_ACCEL: 'tcg' }
      const served = await startBerth(env, ['serve', '--data-dir', join(dir, 'data'), '--guest-dir', guestDir, '--listen', '127.0.0.1:0', '--mcp-listen', '']).done
      assert.notEqual(served.status, 0)
      assert.match(served.stderr, /The guest in \S+ was built from other sources than this Berth has \(an update changed them\): run \.\/berth setup, which builds it anew\./)
      const looked = await startBerth({ ...env, BERTH_GUEST_DIR: guestDir }, ['doctor', '--data-dir', join(dir, 'data')]).done
      assert.match(looked.stdout + looked.stderr, /run \.\/berth setup, which builds it anew/)
    })
  }

  it('finds any change of any source, and a source more or less', async () => {
    const sources = join(dir, 'sources')
    cpSync(GUEST_SOURCES_DIR, sources, { recursive: true })
    assert.equal(await whyStale(GUEST_DIR, sources), null)
    for (const file of ['main.c', 'agent.h', 'MODULES', 'build.sh', 'host/tsc-rate.c', 'ssh/serve.c']) {
      const before = readFileSync(join(sources, file))
      writeFileSync(join(sources, file), `${before.toString()}\n`)
      assert.match((await whyStale(GUEST_DIR, sources)) ?? '', /other sources/, file)
      rmSync(join(sources, file))
      assert.match((await whyStale(GUEST_DIR, sources)) ?? '', /other sources/, file)
      writeFileSync(join(sources, file), before)
    }
    writeFileSync(join(sources, 'PROTOCOL.md'), 'words change nothing')
    assert.equal(await whyStale(GUEST_DIR, sources), null)
  })

  it('has nothing to compare where there are no sources', async () => {
    assert.equal(await whyStale(builtWith('alone', ''), join(dir, 'nowhere')), null)
  })
})

describe('the launcher', () => {
  /** A checkout whose guest/build.sh only notes that it ran. */
  function checkout(name: string, built: { readonly version: string; readonly kernel: string } | null): string {
    const root = join(dir, name)
    for (const path of ['guest', 'scripts']) mkdirSync(join(root, path), { recursive: true })
    for (const path of ['guest/sources.sh', 'guest/MODULES', 'scripts/guest.sh', 'scripts/toolchain.sh']) cpSync(join(REPOSITORY, path), join(root, path))
    for (const path of ['guest/a.c', 'guest/a.h', 'guest/host/b.c', 'guest/ssh/c.c']) {
      mkdirSync(join(root, path, '..'), { recursive: true })
      writeFileSync(join(root, path), path)
    }
    writeFileSync(join(root, 'guest/build.sh'), '#!/bin/bash\n. "$BERTH_ROOT/guest/sources.sh"\necho "sources=$(guest_sources_key "$BERTH_ROOT/guest")" > "$1/version"\necho ran\n', { mode: 0o755 })
    if (built !== null) {
      mkdirSync(join(root, '.berth/guest/kernel'), { recursive: true })
      writeFileSync(join(root, '.berth/guest/version'), built.version)
      writeFileSync(join(root, '.berth/guest/kernel/key'), built.kernel)
    }
    return root
  }

  /** How often the guest was built by one start. */
  async function builds(root: string): Promise<number> {
    const { stdout, stderr } = await run('bash', ['-euc', '. "$BERTH_ROOT/scripts/toolchain.sh"; . "$BERTH_ROOT/scripts/guest.sh"; bring_guest'], {
      env: { PATH: process.env['PATH'] ?? '', BERTH_ROOT: root },
    })
    return (stdout + stderr).split('\n').filter((line) => line === 'ran').length
  }

  it('builds the guest anew once after its sources changed', async () => {
    const root = checkout('updated', { version: 'kernel=1\nsources=000000000000000000000000\n', kernel: 'package 1' })
    assert.equal(await builds(root), 1)
    assert.equal(await whyStale(join(root, '.berth/guest'), join(root, 'guest')), null)
    assert.equal(await builds(root), 0)
    writeFileSync(join(root, 'guest/ssh/c.c'), 'changed')
    assert.equal(await builds(root), 1)
  })

  it('leaves alone a machine that was never set up, and a kernel of the owner’s', async () => {
    assert.equal(await builds(checkout('bare', null)), 0)
    assert.equal(await builds(checkout('own-kernel', { version: 'sources=000000000000000000000000\n', kernel: 'own 1234' })), 0)
  })
})
