/**
 * What goes wrong with real VMs, seen through the API of a real server: a server that is killed, a VMM that is killed,
 * guests that end in every way, a machine that restarts, guests that reach for their neighbours, and bad input.
 * The tests follow one another over the same instances; the last one asserts that the suite leaves nothing behind.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { InstanceBody as NativeInstance } from '../src/dialects/native/schema/instances.ts'
import { exec } from './support/exec-socket.ts'
import { footprint } from './support/footprint.ts'
import type { InstanceBody } from './support/hypeman.ts'
import { IMAGE, refuses } from './support/hypeman.ts'
import { makeNativeClient } from './support/native-client.ts'
import { eventually, startServer } from './support/server.ts'
import type { RequestOptions, TestServer } from './support/server.ts'

const FIVE = ['one', 'two', 'three', 'four', 'five']
const [ONE, TWO, THREE, FOUR, FIFTH] = ['one', 'two', 'three', 'four', 'five'] as const
const isRoot = process.getuid?.() === 0
/** Emulated guests on a busy machine are slow; nothing here asserts a time. */
const PATIENCE_MS = 300_000

const dataDir = mkdtempSync(join(tmpdir(), 'fv-'))
chmodSync(dataDir, 0o711)
let server: TestServer
/** Of every instance that was ever made here. */
const everMade = new Set<string>()

before(async () => {
  server = await startServer({ host: 'qemu', dataDir })
  await eventually('the image is ready', async () => {
    const { body } = await server.request('POST', '/images', { body: { name: IMAGE } })
    return (body as { status: string }).status === 'ready' ? true : null
  })
})
after(async () => {
  await server.stop()
  rmSync(dataDir, { recursive: true, force: true })
})

async function launch(name: string, more: Readonly<Record<string, unknown>> = {}): Promise<NativeInstance> {
  const native = await makeNativeClient(server)
  const body = { name, image: IMAGE, vcpus: 1, memoryBytes: 128 * 1024 ** 2, cmd: ['sleep', '1000000'], ...more }
  const made = await native.ok<NativeInstance>(201, 'POST', `/instances?wait=running&timeoutMs=${PATIENCE_MS}`, { body })
  everMade.add(made.id)
  return made
}

async function guest(name: string, script: string): Promise<string> {
  const { output, exitCode } = await exec(server.url, server.key, name, { command: ['sh', '-c', script] })
  assert.equal(exitCode, 0, `${script}: ${output}`)
  return output.trim()
}

/** Whether the guest reads anything from there within a few seconds. */
async function reaches(name: string, address: string, port: number): Promise<boolean> {
  const { output } = await exec(server.url, server.key, name, { command: ['sh', '-c', `timeout 5 wget -q -O - http://${address}:${port}/; echo "status $?"`] })
  // Of a wget that crashes nothing would be read either.
  assert.match(output, /status (0|1|143)\s*$/, output)
  return output.includes('here')
}

async function get(name: string): Promise<InstanceBody> {
  const { status, body, text } = await server.request('GET', `/instances/${name}`)
  assert.equal(status, 200, text)
  return body as InstanceBody
}

async function states(): Promise<Readonly<Record<string, string>>> {
  const { body } = await server.request('GET', '/instances')
  return Object.fromEntries((body as readonly InstanceBody[]).map(({ name, state }) => [name, state]))
}

const inState = (name: string, state: string) =>
  eventually(`${name} is ${state}`, async () => ((await get(name)).state === state ? true : null), PATIENCE_MS)

/** Pids of the VMMs of this server, by instance; a template that boots besides is none. */
function vmms(): ReadonlyMap<string, number> {
  const lines = execFileSync('ps', ['-eo', 'pid=,args='], { encoding: 'utf8' }).split('\n')
  const own = lines.filter(line => /guest=[0-9a-f-]{36}/.test(line) && line.includes('qemu-system') && line.includes(`${dataDir}/`))
  return new Map(own.map(line => [/guest=([0-9a-f-]{36})/.exec(line)?.[1] ?? line, Number.parseInt(line, 10)]))
}

async function idOf(name: string): Promise<string> {
  const native = await makeNativeClient(server)
  return (await native.ok<NativeInstance>(200, 'GET', `/instances/${name}`)).id
}

test('five instances run on when their server is killed: the next one answers for them at once, and starts none again', async t => {
  await Promise.all(FIVE.map(name => launch(name, { cmd: ['sh', '-c', 'echo here > /index.html; exec httpd -f -p 80 -h /'] })))
  const identity = (name: string) => guest(name, 'cat /proc/sys/kernel/random/boot_id; cat /mark')
  for (const name of FIVE) await guest(name, `echo ${randomUUID()} > /mark`)
  const earlier = await Promise.all(FIVE.map(identity))
  const running = vmms()
  assert.equal(running.size, FIVE.length)
  await server.kill()

  const spawned = Date.now()
  server = await startServer({ host: 'qemu', dataDir })
  // The very first thing it is asked: no waiting, no retry.
  const began = Date.now()
  assert.deepEqual(await states(), Object.fromEntries(FIVE.map(name => [name, 'Running'])))
  assert.deepEqual(await Promise.all(FIVE.map(identity)), earlier)
  t.diagnostic(`${FIVE.length} commands in ${FIVE.length} guests ${Date.now() - began} ms after the server first answered, ${Date.now() - spawned} ms after its process began`)
  assert.deepEqual(vmms(), running)
})

test('a guest has its name servers, and reaches neither the host nor a neighbour, until its project allows neighbours', { skip: !isRoot }, async () => {
  assert.match(await guest(ONE, 'cat /etc/resolv.conf'), /^nameserver \d+\.\d+\.\d+\.\d+/m)
  const [one, two] = await Promise.all([get(ONE), get(TWO)])
  const { ip } = two.network as { readonly ip: string }
  const gateway = await guest(ONE, `ip route | sed -n 's/default via \\([0-9.]*\\).*/\\1/p'`)
  const host = createServer((_request, response) => response.end('here')).listen(0, '0.0.0.0')
  await new Promise(resolve => host.once('listening', resolve))
  try {
    const { port } = host.address() as AddressInfo
    const outside = Object.values(networkInterfaces()).flat().find(each => each?.family === 'IPv4' && !each.internal && each.address !== gateway)
    for (const address of [gateway, ...(outside === undefined ? [] : [outside.address])]) {
      assert.equal(await (await fetch(`http://${address}:${port}/`)).text(), 'here')
      assert.equal(await reaches(ONE, address, port), false, `a guest reaches the host at ${address}`)
    }
  } finally {
    host.close()
  }
  assert.match(await (await fetch(`http://${ip}/`)).text(), /here/, 'the host reaches the guest')
  assert.equal(await reaches(ONE, ip, 80), false, 'a guest reaches its neighbour')

  const native = await makeNativeClient(server)
  const { projectId } = await native.ok<NativeInstance>(200, 'GET', `/instances/${ONE}`)
  await native.ok(200, 'PATCH', `/projects/${projectId}`, { body: { guestToGuest: true } })
  // A project's rule is that of the next start, and a restore is one: address and connections stay.
  for (const name of [ONE, TWO]) {
    await native.ok(200, 'POST', `/instances/${name}/standby?wait=true&timeoutMs=${PATIENCE_MS}`)
    await native.ok(200, 'POST', `/instances/${name}/restore?wait=true&timeoutMs=${PATIENCE_MS}`)
  }
  assert.deepEqual((await get(ONE)).network, one.network)
  assert.equal(await reaches(ONE, ip, 80), true, 'a guest reaches its neighbour where its project allows it')
  await native.ok(200, 'PATCH', `/projects/${projectId}`, { body: { guestToGuest: false } })
})

test('what is wrong in a request is refused with the reason, and changes nothing of what runs', async () => {
  const native = await makeNativeClient(server)
  const project = await native.ok<{ id: string }>(201, 'POST', '/projects', { body: { name: 'strangers' } })
  const { secret } = await native.ok<{ secret: string }>(201, 'POST', '/keys', { body: { name: 'stranger', projectId: project.id, scopes: ['read', 'write', 'exec'] } })
  const create = (more: object): RequestOptions => ({ body: { name: 'bad', image: IMAGE, ...more } })
  const json = { 'content-type': 'application/json' }
  const { id } = await get(ONE)
  const earlier = [await states(), vmms()]
  const cases: readonly [string, string, RequestOptions, number, string][] = [
    ['POST', '/instances', create({ name: 'a'.repeat(64) }), 400, 'Bad Request'],
    ['POST', '/instances', create({ image: 'localhost/no-such-image' }), 404, 'not_found'],
    ['POST', '/instances', create({ size: '4Gb' }), 400, 'invalid_size'],
    ['POST', '/instances', create({ size: '-1' }), 400, 'invalid_size'],
    ['POST', '/instances', create({ size: '1.5GiB' }), 400, 'invalid_size'],
    ['POST', '/instances', create({ name: ONE }), 400, 'name_conflict'],
    ['POST', '/instances', { body: JSON.stringify({ name: 'x'.repeat(10 * 1024 ** 2) }), headers: json }, 413, 'Request Entity Too Large'],
    ['POST', '/instances', { body: Buffer.from('{"name":"\xff\xfe"}', 'latin1'), headers: json }, 400, 'Bad Request'],
    ['POST', '/instances', { body: '{"name":', headers: json }, 400, 'Bad Request'],
    ['GET', '/instances', { key: 'wrong' }, 401, 'Unauthorized'],
    ['DELETE', `/instances/${id}`, { key: secret }, 404, 'not_found'],
    ['POST', `/instances/${id}/standby`, { key: secret }, 404, 'not_found'],
    ['POST', `/instances/${id}/stop`, { key: secret }, 404, 'not_found'],
    ['GET', `/instances/${id}/logs`, { key: secret }, 404, 'not_found'],
    ['POST', `/instances/${id}/restore`, {}, 409, 'invalid_state'],
    ['POST', `/instances/${id}/start`, {}, 409, 'invalid_state'],
  ]
  for (const [method, path, options, status, code] of cases) refuses(await server.request(method, path, options), status, code)
  assert.deepEqual([await states(), vmms()], earlier)
  for (const name of FIVE) assert.equal(await guest(name, 'echo alive'), 'alive')
})

test('an instance whose VMM is killed leaves Running, says so, and can be deleted', async t => {
  const pid = vmms().get(await idOf(FIFTH))
  assert.ok(pid !== undefined)
  process.kill(pid, 'SIGKILL')
  const began = Date.now()
  await inState(FIFTH, 'Stopped')
  t.diagnostic(`it left Running within ${Date.now() - began} ms`)
  const { exit_message: message } = await get(FIFTH)
  assert.match(String(message), /VMM died/)
  assert.equal((await server.request('DELETE', `/instances/${FIFTH}`)).status, 204)
  assert.equal((await server.request('GET', `/instances/${FIFTH}`)).status, 404)
})

const ENDINGS: readonly [string, string, number, RegExp][] = [
  ['powers off', 'poweroff -f', 0, /powered off/],
  ['panics', 'echo c > /proc/sysrq-trigger; sleep 1000', 255, /panicked/],
  ['runs out of memory', 'cat /dev/zero > /dev/shm/fill; x=$(tr "\\0" a < /dev/zero)', 137, /out of memory/],
  ['ends by a signal', 'kill -9 $$', 137, /signal|killed/i],
]
for (const [what, script, code, message] of ENDINGS) {
  test(`a guest that ${what} is Stopped with its exit code and the reason`, async () => {
    const name = what.replaceAll(' ', '-')
    const { status, text } = await server.request('POST', '/instances', { body: { name, image: IMAGE, size: '128MB', vcpus: 1, cmd: ['sh', '-c', script] } })
    assert.equal(status, 201, text)
    everMade.add(await idOf(name))
    await inState(name, 'Stopped')
    const ended = await get(name)
    assert.equal(ended['exit_code'], code, JSON.stringify(ended))
    assert.match(String(ended['exit_message']), message)
    assert.equal(vmms().has(await idOf(name)), false)
    assert.equal((await server.request('DELETE', `/instances/${name}`)).status, 204)
  })
}

test('after a restart of the machine those that may restart run anew, the others are stopped, and none is Unknown', async () => {
  const native = await makeNativeClient(server)
  await native.ok(200, 'DELETE', `/instances/${FOUR}?wait=true&timeoutMs=${PATIENCE_MS}`)
  await launch('stays-down', { afterHostRestart: 'stop' })
  await native.ok(200, 'POST', `/instances/${THREE}/standby?wait=true&timeoutMs=${PATIENCE_MS}`)
  const recordOf = (id: string) => join(dataDir, 'instances', id, 'vm.json')
  const asleep = await idOf(THREE)
  await eventually('the standby is on the disk', async () =>
    (JSON.parse(readFileSync(recordOf(asleep), 'utf8')) as { saved?: { synced?: boolean } }).saved?.synced === true ? true : null)
  const ids = new Map(await Promise.all([ONE, TWO, THREE, 'stays-down'].map(async name => [name, await idOf(name)] as const)))
  const bootId = await guest(ONE, 'cat /proc/sys/kernel/random/boot_id')
  const mark = (await guest(TWO, 'cat /mark')).length
  assert.ok(mark > 0)

  // What a restart looks like from here: no server, no VMM, their sockets and records still there, another boot.
  await server.kill()
  for (const pid of vmms().values()) process.kill(pid, 'SIGKILL')
  for (const id of ids.values()) {
    writeFileSync(recordOf(id), readFileSync(recordOf(id), 'utf8').replaceAll(/"bootId": ?"[^"]+"/g, `"bootId": "${randomUUID()}"`))
  }
  server = await startServer({ host: 'qemu', dataDir })
  await Promise.all([inState(ONE, 'Running'), inState(TWO, 'Running'), inState(THREE, 'Standby'), inState('stays-down', 'Stopped')])
  // For a moment after its start the server tells what was true before: a new life is one that says so itself.
  const answer = (name: string, command: string) => eventually(`${name} answers`, () => guest(name, command).catch(() => null), PATIENCE_MS)
  assert.notEqual(await answer(ONE, 'cat /proc/sys/kernel/random/boot_id'), bootId)
  assert.equal((await answer(TWO, 'cat /mark')).length, mark, 'its disk is what it was')
  assert.equal(vmms().size, 2)
  assert.equal((await server.request('POST', `/instances/${THREE}/restore`)).status, 200)
  assert.equal(await guest(THREE, 'echo alive'), 'alive')
})

test('the suite leaves no process, interface, rule, control group, mount or file behind', async () => {
  const present = footprint(server, [...everMade])
  for (const kind of ['process', 'directory', ...(isRoot ? ['interface', 'table', 'control group'] : [])]) {
    assert.ok(present.some(each => each.startsWith(kind)), `a running server has no ${kind}: this test would not see one`)
  }
  await server.stop()
  rmSync(dataDir, { recursive: true, force: true })
  assert.deepEqual(footprint(server, [...everMade]), [])
})
