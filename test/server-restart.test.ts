/** Servers come and go, VMs stay: a server that dies leaves its instances running, and the next one takes them over. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { exec } from './support/exec-socket.ts'
import { eventually, startServer } from './support/server.ts'
import type { TestServer } from './support/server.ts'

const IMAGE = 'localhost/busybox'
const NAMES = ['one', 'two', 'three']

async function launch(server: TestServer, name: string): Promise<void> {
  const { status, text } = await server.request('POST', '/instances', {
    body: { name, image: IMAGE, size: '128MB', vcpus: 1, cmd: ['sh', '-c', 'echo began; exec sleep 100000'] },
  })
  assert.equal(status, 201, text)
}

/** What only the same running guest can still say. */
async function mark(server: TestServer, name: string): Promise<string> {
  const { output, exitCode } = await exec(server.url, server.key, name, { command: ['sh', '-c', 'cat /proc/sys/kernel/random/boot_id; cat /mark'] })
  assert.equal(exitCode, 0, output)
  return output
}

/** The VMs of instances; a template may be booting besides. */
function vmmPids(dataDir: string): readonly string[] {
  const lines = execFileSync('ps', ['-eo', 'pid=,args='], { encoding: 'utf8' }).split('\n')
  return lines.filter(line => line.includes('qemu-system') && line.includes(`${dataDir}/`) && !line.includes('guest=berth-template')).map(line => line.trim().split(' ')[0] ?? '')
}

test('instances outlive a server that is killed: the next one finds them, and none is launched twice', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'sr-'))
  chmodSync(dataDir, 0o711)
  try {
    const first = await startServer({ host: 'qemu', dataDir })
    await eventually('the image is ready', async () => {
      const { body } = await first.request('POST', '/images', { body: { name: IMAGE } })
      return (body as { status: string }).status === 'ready' ? true : null
    })
    await Promise.all(NAMES.map(name => launch(first, name)))
    for (const name of NAMES) await exec(first.url, first.key, name, { command: ['sh', '-c', 'echo $$-$(date +%N) > /mark'] })
    const marks = await Promise.all(NAMES.map(name => mark(first, name)))
    const pids = vmmPids(dataDir)
    assert.equal(pids.length, NAMES.length)
    await first.kill()

    const second = await startServer({ host: 'qemu', dataDir })
    await eventually('all run, as the record says', async () => {
      const { body } = await second.request('GET', '/instances?state=Running')
      return (body as unknown[]).length === NAMES.length ? true : null
    })
    assert.deepEqual(await Promise.all(NAMES.map(name => mark(second, name))), marks)
    assert.deepEqual(vmmPids(dataDir), pids)

    // The far end of a VM dies while nobody serves: the record is set right at the next start.
    await second.kill()
    process.kill(Number(pids[0]), 'SIGKILL')
    const third = await startServer({ host: 'qemu', dataDir })
    await eventually('one has stopped', async () => {
      const { body } = await third.request('GET', '/instances')
      const states = (body as readonly { state: string }[]).map(({ state }) => state).toSorted()
      return states.join() === 'Running,Running,Stopped' ? true : null
    })
    await third.stop()
    assert.deepEqual(vmmPids(dataDir), [])
  } finally {
    rmSync(dataDir, { recursive: true, force: true })
  }
})
