/**
 * The Koyeb dialect over real VMs, as its users meet it: what `berth run` started is listed, described, executed in,
 * copied to and from, put to sleep and woken by Koyeb's clients (docs/koyeb.md walks the same way); and a service's
 * replicas are VMs that are replaced, sleep, and wake for a request to their port.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { request } from 'node:http'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import type { IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { commandEnv, startBerth } from './support/berth-command.ts'
import { cliFrames, judgedCalls, loadKoyebContract, openSession, runSession } from './support/koyeb.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

/** Emulated CPUs on a busy machine are slow; none of this is a measurement. */
const WAIT_MS = 300_000
const IMAGE = 'localhost/busybox'
const APP = 'echo hello-from-app; echo to-stderr >&2; exec sleep 100000'

/** A page on port 8000, and on 9000 a program that takes connections and never ends them. */
const HOLDING = 'mkdir -p /www; echo up > /www/index.html; nc -ll -p 9000 -e sleep 1000 & exec httpd -f -p 8000 -h /www'

const contract = loadKoyebContract()
const dataDir = mkdtempSync(join(tmpdir(), 'kd-'))
let server: TestServer
let scratch = ''
let id = ''
const call = judgedCalls(() => server, contract)

before(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'kv-'))
  server = await startServer({ host: 'qemu', dataDir })
  await berth('run', '-d', '--name', 'walk', '--memory', '256MiB', IMAGE, 'sh', '-c', APP)
})
after(async () => {
  await server.stop()
  rmSync(dataDir, { recursive: true, force: true })
  rmSync(scratch, { recursive: true, force: true })
})

async function berth(...args: readonly string[]): Promise<string> {
  const outcome = await startBerth(commandEnv(server), args).done
  assert.equal(outcome.status, 0, `berth ${args.join(' ')}\n${outcome.stdout}${outcome.stderr}`)
  return outcome.stdout
}

async function ok(method: string, path: string, body?: unknown): Promise<Record<string, unknown>> {
  const answer = await call(method, path, body === undefined ? {} : { body })
  assert.equal(answer.status, 200, `${method} ${path}: ${answer.text}`)
  return answer.body as Record<string, unknown>
}

interface Item {
  readonly id: string
  readonly status: string
  readonly messages: readonly string[]
  readonly replica_index: number
}
const exec = (...command: readonly string[]) => runSession({ url: server.url, key: server.key, contract }, ...cliFrames(id, command))
const statusOf = async (of: string) => ((await ok('GET', `/v1/instances/${of}`))['instance'] as Item).status
const until = (of: string, status: string) => eventually(`${of} is ${status}`, async () => ((await statusOf(of)) === status ? true : null), WAIT_MS)

/** As its CLI copies: bytes of an archive as stdin, with the end of a gzip stream after the end of the archive. */
async function sendInput(command: readonly string[], input: Uint8Array): Promise<{ readonly exitCode: number | null; readonly stderr: string }> {
  const session = await openSession({ url: server.url, key: server.key, contract })
  session.send({ id, body: { command, disableTty: true }, idType: 'INSTANCE_ID' })
  for (let at = 0; at < input.length; at += 4096) {
    const data = Buffer.from(input.subarray(at, at + 4096)).toString('base64')
    session.send({ id, body: { command, stdin: { data } }, idType: 'INSTANCE_ID' })
  }
  session.send({ id, body: { command, stdin: { close: true } }, idType: 'INSTANCE_ID' })
  return session.outcome
}

/** fetch refuses a body with GET; gateways' clients send one. */
async function getWithBody(path: string, body: string): Promise<string> {
  const sent = request(`${server.url}${path}`, { method: 'GET', headers: { authorization: `Bearer ${server.key}`, 'content-length': Buffer.byteLength(body) } })
  sent.end(body)
  const [answer] = (await once(sent, 'response')) as [IncomingMessage]
  const parts: Buffer[] = []
  for await (const part of answer) parts.push(part as Buffer)
  return Buffer.concat(parts).toString()
}

test('what berth run started is listed and described', async () => {
  const { instances } = (await ok('GET', '/v1/instances')) as { instances: Item[] }
  assert.equal(instances.length, 1)
  id = instances[0]?.id ?? ''
  await until(id, 'HEALTHY')
  const { instance } = (await ok('GET', `/v1/instances/${id}`)) as { instance: Item }
  assert.match(instance.messages.join(), /walk/)
})

test('commands run in it, with pipes and with a terminal', async () => {
  const apart = await exec('sh', '-c', 'echo out; echo err >&2; exit 7')
  assert.deepEqual([apart.stdout, apart.stderr, apart.exitCode, apart.closeCode], ['out\n', 'err\n', 7, 1000])
  assert.equal((await exec('sh', '-c', 'kill -9 $$')).exitCode, 137)
  assert.equal((await exec('no-such-program')).exitCode, 127)

  const console_ = await openSession({ url: server.url, key: server.key, query: `?id=${id}`, contract })
  console_.send({ id, id_type: 'INSTANCE_ID', body: { command: ['/bin/sh'] } })
  console_.send({ body: { tty_size: { width: 101, height: 37 } } })
  console_.send({ body: { stdin: { data: Buffer.from('stty size; tty\r').toString('base64') } } })
  await console_.until('37 101')
  await console_.until('/dev/pts/')
  console_.send({ body: { stdin: { data: Buffer.from('exit 3\r').toString('base64') } } })
  assert.equal((await console_.outcome).exitCode, 3)

  // The MCP server: a terminal, and everything typed at once.
  const typed = await runSession(
    { url: server.url, key: server.key, query: `?id=${id}`, contract },
    { id, id_type: 'INSTANCE_ID', body: { command: ['/bin/sh'] } },
    { body: { stdin: { data: Buffer.from('echo $((6*7)); stty size\n').toString('base64') } } },
    { body: { stdin: { data: Buffer.from('exit\n').toString('base64') } } },
  )
  assert.match(typed.stdout, /\b42\b/)
  assert.match(typed.stdout, /\b24 80\b/)
  assert.equal(typed.exitCode, 0)
})

test('a client that leaves ends its command', async () => {
  const session = await openSession({ url: server.url, key: server.key, contract })
  session.send({ id, body: { command: ['sh', '-c', 'echo started; exec sleep 54321'], disableTty: true } })
  await session.until('started')
  session.socket.terminate()
  await eventually('the command is gone', async () => ((await exec('pidof', 'sleep')).stdout.trim().split(' ').length <= 1 ? true : null), WAIT_MS)
})

test('a command that does not care for its client’s leaving is killed 5 s later', async () => {
  const session = await openSession({ url: server.url, key: server.key, contract })
  const stubborn = 'trap "echo hung up > /tmp/told" HUP; echo $$ > /tmp/pid; echo started; while :; do sleep 0.1; done'
  session.send({ id, body: { command: ['sh', '-c', stubborn], disableTty: true } })
  await session.until('started')
  const lives = 'kill -0 $(cat /tmp/pid) && cat /tmp/told'
  session.socket.terminate()
  await eventually('it was told, and lives', async () => ((await exec('sh', '-c', lives)).stdout === 'hung up\n' ? true : null), WAIT_MS)
  await eventually('it is gone', async () => ((await exec('sh', '-c', lives)).exitCode === 0 ? null : true), WAIT_MS)
})

test('one HTTP request runs a command', async () => {
  const { result } = (await ok('GET', `/v1/streams/instances/exec?id=${id}&body.command=uname&body.command=-s`)) as { result: { stdout: { data: string }; exit_code: number } }
  assert.deepEqual([Buffer.from(result.stdout.data, 'base64').toString(), result.exit_code], ['Linux\n', 0])
})

test('one POST runs a command to its end, and whoever leaves takes it along', async t => {
  const path = '/v1/v1/streams/instances/exec'
  const said = await server.request('POST', path, { body: { id, command: ['sh', '-c', 'pwd; echo $COLOUR >&2; exit 7'], workdir: '/tmp', env: { COLOUR: 'blue' } } })
  assert.equal(said.status, 200, said.text)
  const { stdout, stderr, exit_code } = said.body as { stdout: string; stderr: string; exit_code: number }
  assert.deepEqual([stdout, stderr, exit_code], ['/tmp\n', 'blue\n', 7])
  const late = await server.request('POST', path, { body: { id, command: ['sh', '-c', 'echo before; sleep 66661 & sleep 66662'], timeout_ms: 3000 } })
  const cut = late.body as { stdout: string; exit_code: number | null; timed_out: boolean }
  assert.deepEqual([cut.stdout, cut.exit_code, cut.timed_out], ['before\n', null, true])

  const commands = async () => {
    const lines = (await exec('ps', '-o', 'args')).stdout.split('\n').map(line => line.trim())
    assert.ok(lines.includes('ps -o args'), 'the guest does not list its processes')
    return lines
  }
  const isGone = async () => ((await commands()).some(line => line.includes('sleep 6666')) ? null : true)
  await eventually('what was over time is gone', isGone, WAIT_MS)
  const leaver = new AbortController()
  const body = JSON.stringify({ id, command: ['sh', '-c', 'sleep 66663 & sleep 66664'], timeout_ms: 600_000 })
  const pending = fetch(`${server.url}${path}`, { method: 'POST', headers: { authorization: `Bearer ${server.key}` }, body, signal: leaver.signal })
  pending.catch(() => undefined)
  await eventually('both processes run', async () => {
    const lines = await commands()
    return lines.includes('sleep 66663') && lines.includes('sleep 66664') ? true : null
  }, WAIT_MS)
  const leftAt = performance.now()
  leaver.abort()
  await assert.rejects(pending)
  await eventually('the command is gone', isGone, WAIT_MS)
  t.diagnostic(`seen to be gone ${Math.round(performance.now() - leftAt)} ms after its client (2000 ms is the promise on an idle machine)`)
})

test('output that no document holds comes as lines, and a body brings more frames', async () => {
  const path = `/v1/streams/instances/exec?id=${id}`
  const large = await server.request('GET', `${path}&body.command=head&body.command=-c&body.command=3000000&body.command=%2Fdev%2Fzero`)
  assert.match(large.headers.get('content-type') ?? '', /^application\/x-ndjson/)
  const lines = large.text.trim().split('\n').map(line => JSON.parse(line) as { result: { stdout: { data: string } | null; exited: boolean } })
  assert.equal(lines.reduce((sum, line) => sum + Buffer.from(line.result.stdout?.data ?? '', 'base64').length, 0), 3_000_000)
  assert.deepEqual(lines.filter(line => line.result.exited), [lines.at(-1)])

  const frames = ['{"body":{"command":["cat"]}}', `{"body":{"stdin":{"data":"${Buffer.from('from the body').toString('base64')}"}}}`].join('\n')
  const answer = JSON.parse(await getWithBody(path, frames)) as { result: { stdout: { data: string } } }
  assert.equal(Buffer.from(answer.result.stdout.data, 'base64').toString(), 'from the body')
})

test('files are copied to it and from it as the CLI copies them', async () => {
  const bytes = randomBytes(300_000)
  mkdirSync(join(scratch, 'up'))
  writeFileSync(join(scratch, 'up', 'file.bin'), bytes)
  assert.equal((await exec('test', '-d', '/root')).exitCode, 0)
  assert.equal((await exec('test', '-d', '/nowhere')).exitCode, 1)
  const archive = execFileSync('tar', ['-C', join(scratch, 'up'), '-cf', '-', 'file.bin'])
  const sent = await sendInput(['tar', '-C', '/root', '-xf', '-'], Buffer.concat([archive, gzipSync('')]))
  assert.equal(sent.exitCode, 0, sent.stderr)
  assert.equal((await exec('wc', '-c', '/root/file.bin')).stdout.trim().split(' ')[0], '300000')

  const back = await exec('tar', '-C', '/root', '-czf', '-', 'file.bin')
  assert.equal(back.exitCode, 0, back.stderr)
  const packed = Buffer.concat(back.frames.map(frame => Buffer.from(frame.result?.stdout?.data ?? '', 'base64')))
  mkdirSync(join(scratch, 'down'))
  execFileSync('tar', ['-C', join(scratch, 'down'), '-xzf', '-'], { input: packed })
  assert.deepEqual(readFileSync(join(scratch, 'down', 'file.bin')), bytes)
})

test('its logs and what its VM really uses are there', async () => {
  const { data } = (await ok('GET', `/v1/streams/logs/query?instance_id=${id}&order=asc`)) as { data: { msg: string; labels: { stream: string } }[] }
  assert.ok(data.some(line => line.msg === 'hello-from-app' && line.labels.stream === 'stdout'), JSON.stringify(data))
  assert.ok(data.some(line => line.msg === 'to-stderr' && line.labels.stream === 'stderr'))
  await exec('sh', '-c', 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done')
  for (const [name, least] of [['MEM_RSS', 16 * 2 ** 20], ['CPU_TOTAL_PERCENT', 0.01]] as const) {
    const { metrics } = (await ok('GET', `/v1/streams/metrics?instance_id=${id}&name=${name}`)) as { metrics: { samples: { value: number }[] }[] }
    assert.ok((metrics[0]?.samples.at(-1)?.value ?? 0) > least, `${name}: ${JSON.stringify(metrics)}`)
  }
})

test('it is put to sleep, and a command wakes it where it was', async () => {
  await exec('sh', '-c', 'echo kept > /tmp/in-memory')
  const { instance } = (await ok('GET', `/v1/instances/${id}`)) as { instance: { service_id: string } }
  await ok('POST', `/v1/services/${instance.service_id}/pause`)
  await until(id, 'SLEEPING')
  const outcome = await exec('cat', '/tmp/in-memory')
  assert.deepEqual([outcome.stdout, outcome.exitCode], ['kept\n', 0])
  assert.equal(await statusOf(id), 'HEALTHY')
  const { events } = (await ok('GET', `/v1/instance_events?instance_ids=${id}&types=SLEEPING&types=WAKING`)) as { events: { type: string }[] }
  assert.deepEqual(events.map(event => event.type), ['SLEEPING', 'WAKING'])
})

test('the session in docs/koyeb.md runs as it stands there', async () => {
  const page = readFileSync(new URL('../docs/koyeb.md', import.meta.url), 'utf8')
  const session = /```js\n(.*?)```/s.exec(page)?.[1]
  assert.ok(session !== undefined)
  writeFileSync(join(scratch, 'session.mjs'), session)
  symlinkSync(fileURLToPath(new URL('../node_modules', import.meta.url)), join(scratch, 'node_modules'))
  const env = { ...process.env, KOYEB_URL: server.url, KOYEB_TOKEN: server.key, TMPDIR: scratch }
  const output = execFileSync(process.execPath, [join(scratch, 'session.mjs')], { env, encoding: 'utf8', timeout: WAIT_MS })
  assert.match(output, /^HEALTHY \S+ fra\nLinux /)
  assert.match(output, /awake\n/)
  assert.equal(readFileSync(join(scratch, 'hostname'), 'utf8'), readFileSync('/etc/hostname', 'utf8'))
})

test('a service is VMs: a dead replica is replaced, an idle one sleeps, and a request to its port wakes it', async t => {
  const { network } = (await server.request('GET', '/berth/v1/host')).body as { network: { mode: string } }
  if (network.mode !== 'bridge') return t.skip('without a bridge the server does not reach the ports of guests')
  const { app } = (await ok('POST', '/v1/apps', { name: 'shop' })) as { app: { id: string } }
  const page = 'mkdir -p /www; echo "served by $(hostname)" > /www/index.html; exec httpd -f -p 8000 -h /www'
  const { service } = (await ok('POST', '/v1/services', {
    app_id: app.id,
    definition: {
      name: 'web',
      type: 'WEB',
      docker: { image: IMAGE, command: 'sh', args: ['-c', page] },
      regions: ['fra'],
      instance_types: [{ type: 'nano' }],
      ports: [{ port: 8000, protocol: 'http' }],
      scalings: [{ min: 1, max: 1 }],
      config_files: [{ path: '/www/told.txt', permissions: '0444', content: '{{ KOYEB_SERVICE_NAME }} {{ KOYEB_REPLICA_INDEX }} {{ KOYEB_INSTANCE_ID }} on {{ PORT }}\n' }],
    },
  })) as { service: { id: string } }
  const replica = (status: string) =>
    eventually(`a replica is ${status}`, async () => {
      const { instances } = (await ok('GET', `/v1/instances?service_id=${service.id}&statuses=${status}`)) as { instances: Item[] }
      return instances[0] ?? null
    }, WAIT_MS)
  const publicPort = () =>
    eventually('the deployment serves, and shows its public port', async () => {
      const { service: now } = (await ok('GET', `/v1/services/${service.id}`)) as { service: { active_deployment_id: string; latest_deployment_id: string } }
      if (now.active_deployment_id !== now.latest_deployment_id) return null
      const { deployment } = (await ok('GET', `/v1/deployments/${now.active_deployment_id}`)) as { deployment: { metadata: { proxy_ports: { public_port: number }[] } } }
      return deployment.metadata.proxy_ports[0]?.public_port ?? null
    }, WAIT_MS)
  const visit = async (port: number) => (await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } })).text()

  const first = await replica('HEALTHY')
  const port = await publicPort()
  assert.match(await visit(port), /^served by web-0-/)
  const told = await fetch(`http://127.0.0.1:${port}/told.txt`, { headers: { connection: 'close' } })
  assert.equal(await told.text(), `web 0 ${first.id} on 8000\n`)

  await server.request('DELETE', `/berth/v1/instances/${first.id}`)
  const second = await eventually('another takes its slot', async () => {
    const now = await replica('HEALTHY')
    return now.id === first.id ? null : now
  }, WAIT_MS)
  assert.equal(second.replica_index, first.replica_index)
  assert.match(await visit(port), /^served by web-0-/)

  await server.kill()
  server = await startServer({ host: 'qemu', dataDir })
  const again = await eventually('the new server has the port open', () => visit(port).catch(() => null), WAIT_MS)
  assert.match(again, /^served by web-0-/)
  assert.equal((await replica('HEALTHY')).id, second.id, 'the VM ran on')

  const targets = [{ sleep_idle_delay: { light_sleep_value: 2 } }]
  await ok('PATCH', `/v1/services/${service.id}`, { definition: { scalings: [{ min: 0, max: 1, targets }] } })
  assert.equal(await publicPort(), port, 'the port stays through deployments')
  const asleep = await replica('SLEEPING')
  assert.match(await visit(port), /^served by web-0-/)
  const { events } = (await ok('GET', `/v1/instance_events?instance_ids=${asleep.id}&types=WAKING`)) as { events: unknown[] }
  assert.equal(events.length, 1)

  // Deep sleep ends the VM, and a connection brings a new one. The check asks the page itself.
  const deep = [{ sleep_idle_delay: { deep_sleep_value: 3 } }]
  const health_checks = [{ http: { port: 8000, path: '/' }, grace_period: 300, interval: 1 }]
  await ok('PATCH', `/v1/services/${service.id}`, { definition: { scalings: [{ min: 0, max: 1, targets: deep }], health_checks } })
  assert.equal(await publicPort(), port)
  const latest = ((await ok('GET', `/v1/services/${service.id}`)) as { service: { latest_deployment_id: string } }).service.latest_deployment_id
  const gone = await eventually('the replica of the deployment that sleeps deeply has ended', async () => {
    const { instances } = (await ok('GET', `/v1/instances?deployment_id=${latest}`)) as { instances: Item[] }
    return instances.length > 0 && instances.every(one => one.status === 'STOPPED') ? instances.at(-1) : null
  }, WAIT_MS)
  assert.ok(gone)
  assert.match(await visit(port), /^served by web-0-/)
  const { instances: made } = (await ok('GET', `/v1/instances?deployment_id=${latest}`)) as { instances: Item[] }
  assert.notEqual(made.at(-1)?.id, gone.id)

  await ok('DELETE', `/v1/services/${service.id}`)
  await eventually('it is gone', async () => {
    const { service: now } = (await ok('GET', `/v1/services/${service.id}`)) as { service: { status: string } }
    return now.status === 'DELETED' ? true : null
  }, WAIT_MS)
  await assert.rejects(visit(port))
})

test('automatic standby counts real connections, and lets one without any sleep', async t => {
  const { network } = (await server.request('GET', '/berth/v1/host')).body as { network: { mode: string } }
  if (network.mode !== 'bridge') return t.skip('without a bridge nobody tells who is connected to a guest')
  const made = await server.request('POST', '/instances', {
    body: { name: 'standing', image: IMAGE, size: '256MB', entrypoint: ['sh', '-c', HOLDING] },
  })
  assert.equal(made.status, 201, made.text)
  const { id, network: { ip } } = made.body as { id: string; network: { ip: string } }
  const status = async () => (await server.request('GET', `/instances/${id}/auto-standby/status`)).body as { status: string; supported: boolean; active_inbound_connections: number }
  const held = await eventually('it takes connections', () => new Promise<Socket | null>(resolve => {
    const socket = connect(8000, ip, () => resolve(socket))
    socket.on('error', () => resolve(null))
  }), WAIT_MS)
  const asked = await server.request('PATCH', `/instances/${id}`, { body: { auto_standby: { enabled: true, idle_timeout: '1s' } } })
  assert.equal(asked.status, 200, asked.text)
  const seen = await eventually('it was looked at', async () => {
    const now = await status()
    return now.active_inbound_connections === 1 || !now.supported ? now : null
  }, WAIT_MS)
  if (!seen.supported) return t.skip('this kernel does not tell its connections')
  // The checks of this server go to a program that never hangs up: the kernel calls each of them open for a minute.
  const checks = ['--health-check', 'tcp:9000', '--health-check', 'http:8000', '--health-interval', '300ms', '--health-start-period', '5m']
  await berth('update', 'standing', '--auto-standby', '2s', ...checks)
  const shown = async () => (await server.request('GET', '/berth/v1/instances/standing')).body as { phaseSince: string; health: { status: string } | null; autoStandby: unknown }
  await eventually('its checks pass', async () => ((await shown()).health?.status === 'healthy' ? true : null), WAIT_MS)
  assert.deepEqual((await shown()).autoStandby, { enabled: true, idleAfterMs: 2000, ignoreSources: [], ignorePorts: [] })
  assert.equal((await status()).active_inbound_connections, 1)
  held.destroy()
  await eventually('it sleeps', async () => (((await server.request('GET', `/instances/${id}`)).body as { state: string }).state === 'Standby' ? true : null), WAIT_MS)
  assert.equal((await server.request('DELETE', `/instances/${id}`)).status, 204)
})

test('what berth run started with an idle time sleeps, and a connection to its published port wakes it', async t => {
  const { network } = (await server.request('GET', '/berth/v1/host')).body as { network: { mode: string } }
  if (network.mode !== 'bridge') return t.skip('without a bridge published ports can not wake an instance')
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  const page = 'mkdir -p /www; echo up > /www/index.html; exec httpd -f -p 8000 -h /www'
  await berth('run', '-d', '--name', 'napper', '--memory', '256MiB', '--idle-after', '2s', '-p', `${port}:8000`, IMAGE, 'sh', '-c', page)
  const { instances } = (await ok('GET', '/v1/instances?order=desc&limit=1')) as { instances: Item[] }
  const napper = instances[0]?.id ?? ''
  await until(napper, 'SLEEPING')
  const visit = async () => (await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } })).text()
  assert.equal(await visit(), 'up\n')
  await until(napper, 'SLEEPING')
  // A new server opens the port again, and a connection that is held keeps the instance awake.
  await server.kill()
  server = await startServer({ host: 'qemu', dataDir })
  await eventually('the new server has the port open', () => visit().catch(() => null), WAIT_MS)
  const held = connect(port, '127.0.0.1')
  await once(held, 'connect')
  await until(napper, 'HEALTHY')
  const before = Date.now()
  await eventually('it is awake for longer than its idle time', async () => {
    assert.equal(await statusOf(napper), 'HEALTHY')
    return Date.now() - before > 4000 ? true : null
  }, WAIT_MS)
  held.destroy()
  await until(napper, 'SLEEPING')
  await berth('rm', '-f', 'napper')
  await assert.rejects(visit())
})
