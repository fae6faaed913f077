/** The pretended host keeps the promises of the port, so that what is proven over it is worth something. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { CopyItem, ExecRequest, HostEvent, VmSpec } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'
import type { ImageDigest, InstanceId } from '../../instance/model.ts'
import type { SimulatedHost } from './simulated-host.ts'
import { createSimulatedHost } from './simulated-host.ts'

const ID = '2f4b1f0a-6c1c-4c0e-9b42-0a6c3b7f7c11' as InstanceId
const PLAIN: ExecRequest = { command: ['true'], env: {}, workingDir: null, user: null, tty: null, timeoutMs: null }

async function imageOn(host: SimulatedHost): Promise<ImageDigest> {
  const pulled = await host.pullImage({
    name: 'localhost/busybox:latest',
    credentials: null,
    platform: null,
    onProgress: () => {},
    signal: new AbortController().signal,
  })
  return pulled.digest
}

async function specOn(host: SimulatedHost, change: Partial<VmSpec> = {}): Promise<VmSpec> {
  return {
    instanceId: ID,
    generation: 1,
    name: 'i',
    hostname: 'i',
    image: await imageOn(host),
    imageConfig: { entrypoint: [], cmd: ['serve'], env: {}, workingDir: '/', user: '', stopSignal: null, exposedPorts: [] },
    vcpus: 1,
    memoryBytes: 2 ** 26,
    overlayBytes: 2 ** 24,
    diskIoBytesPerSecond: null,
    command: ['serve'],
    env: { HOME: '/root' },
    workingDir: '/',
    user: '0',
    network: null,
    volumes: [],
    sshKeys: [],
    ...change,
  }
}

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'ok',
    (error: unknown) => (error instanceof BerthError ? error.code : String(error)),
  )

test('a start is done once per generation, and a call of an older generation is refused', async () => {
  const host = createSimulatedHost()
  const spec = await specOn(host)
  assert.equal((await host.start(spec)).how, 'cold')
  assert.equal((await host.start(spec)).how, 'already-running')
  await host.start({ ...spec, generation: 2 })
  assert.equal(await codeOf(host.stop(spec, { graceMs: 0 })), 'invalid_state')
  assert.deepEqual([...host.launches()], [[`${ID}/1`, 1], [`${ID}/2`, 1]])
  await host.close()
})

test('VMs outlive the object over the same file; a reboot leaves saved states and disks only', async t => {
  const directory = await mkdtemp(join(tmpdir(), 'berth-simulated-'))
  t.after(() => rm(directory, { recursive: true }))
  const stateFile = join(directory, 'machine.json')
  const first = createSimulatedHost({ stateFile })
  const spec = await specOn(first)
  const sleeper = { ...spec, instanceId: '11111111-6c1c-4c0e-9b42-0a6c3b7f7c11' as InstanceId }
  await first.start(spec)
  await first.start(sleeper)
  await first.suspend(sleeper)
  await first.close()
  const second = createSimulatedHost({ stateFile })
  assert.deepEqual((await second.inventory()).map(vm => vm.status), ['running', 'suspended'])
  second.reboot()
  assert.deepEqual((await second.inventory()).map(vm => vm.status), ['prepared', 'suspended'])
  assert.equal((await second.resume({ ...sleeper, generation: 2 })).how, 'restored')
  assert.equal(await codeOf(second.resume({ ...sleeper, instanceId: ID, generation: 2 })), 'invalid_state')
  await second.close()
})

test('an application that ends is told once, with its code', async () => {
  const host = createSimulatedHost()
  const told: HostEvent[] = []
  host.onEvent(event => told.push(event))
  await host.start(await specOn(host, { command: ['exit', '7'] }))
  await new Promise(resolve => setTimeout(resolve, 30))
  assert.deepEqual(told, [{ kind: 'exited', vm: { instanceId: ID, generation: 1 }, exit: { code: 7, signal: null, message: 'exited' } }])
  await host.close()
})

test('commands have streams of their own: 8 MiB through sha256sum, an end of input, a signal, a time limit', async () => {
  const host = createSimulatedHost()
  const spec = await specOn(host)
  await host.start(spec)
  const sum = await host.exec(spec, { ...PLAIN, command: ['sha256sum'] })
  const hash = createHash('sha256')
  for (let chunk = 0; chunk < 128; chunk++) {
    const data = Buffer.alloc(65_536, chunk)
    hash.update(data)
    await sum.write(data)
  }
  await sum.endInput()
  let printed = ''
  for await (const { data } of sum.output) printed += Buffer.from(data).toString()
  assert.equal(printed, `${hash.digest('hex')}  -\n`)
  assert.deepEqual(await sum.exit, { code: 0, signal: null, timedOut: false })
  const slept = await host.exec(spec, { ...PLAIN, command: ['sleep', '60'] })
  slept.signal(15)
  assert.deepEqual(await slept.exit, { code: 143, signal: 15, timedOut: false })
  const limited = await host.exec(spec, { ...PLAIN, command: ['sleep', '60'], timeoutMs: 10 })
  assert.deepEqual(await limited.exit, { code: 137, signal: 9, timedOut: true })
  assert.equal(await codeOf(host.exec(spec, { ...PLAIN, command: ['nothing'] })), 'command_not_found')
  await host.close()
})

test('a reader that stalls stalls the writer', async () => {
  const host = createSimulatedHost()
  const spec = await specOn(host)
  await host.start(spec)
  const session = await host.exec(spec, { ...PLAIN, command: ['cat'] })
  let written = 0
  const writing = (async () => {
    for (; written < 1000; written++) await session.write(Buffer.alloc(1024))
    await session.endInput()
  })()
  await new Promise(resolve => setTimeout(resolve, 30))
  assert.ok(written < 100, `${written} chunks were taken although nobody reads`)
  let bytes = 0
  for await (const { data } of session.output) bytes += data.length
  await writing
  assert.equal(bytes, 1000 * 1024)
  await host.close()
})

test('a tree that is copied in is there, and comes out as it went in', async () => {
  const host = createSimulatedHost()
  const spec = await specOn(host)
  await host.start(spec)
  const entry = { mode: 0o640, uid: 1, gid: 2, mtimeSeconds: 5, linkTarget: null }
  const items: CopyItem[] = [
    { type: 'entry', entry: { ...entry, path: '', kind: 'directory', sizeBytes: 0 } },
    { type: 'entry', entry: { ...entry, path: 'a.txt', kind: 'file', sizeBytes: 5 } },
    { type: 'data', data: Buffer.from('hello') },
  ]
  assert.deepEqual(await host.copyIn(spec, '/data', (async function* () { yield* items })()), { bytesWritten: 5 })
  assert.equal((await host.stat(spec, '/data/a.txt', { followLinks: false })).sizeBytes, 5)
  assert.equal((await host.stat(spec, '/nowhere', { followLinks: false })).exists, false)
  const out: CopyItem[] = []
  for await (const item of host.copyOut(spec, '/data', { followLinks: false })) out.push(item)
  assert.deepEqual(out.map(item => (item.type === 'entry' ? item.entry.path : item.type)), ['', 'a.txt', 'data'])
  await host.close()
})

test('faults come before the effect, after it, or never let go', async () => {
  const host = createSimulatedHost()
  const spec = await specOn(host)
  host.setFaults(({ call, count }) => (call === 'start' && count === 1 ? { kind: 'before', code: 'disk_full', message: 'full' } : null))
  assert.equal(await codeOf(host.start(spec)), 'disk_full')
  assert.equal((await host.inventory()).length, 0)
  host.setFaults(({ call }) => (call === 'start' ? { kind: 'after', code: 'disk_full', message: 'full' } : null))
  assert.equal(await codeOf(host.start(spec)), 'disk_full')
  assert.deepEqual((await host.inventory()).map(vm => vm.status), ['running'])
  host.setFaults(({ call }) => (call === 'stop' ? { kind: 'hang', effect: true } : null))
  void host.stop(spec, { graceMs: 0 })
  await new Promise(resolve => setTimeout(resolve, 10))
  assert.deepEqual((await host.inventory()).map(vm => vm.status), ['exited'])
  await host.close()
})
