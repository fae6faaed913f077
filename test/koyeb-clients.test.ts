/**
 * Clients that are not ours, unmodified, against the Koyeb dialect: one generated from the vendor's schema, and the
 * vendor's own command line.
 *
 * The command line is taken from $KOYEB_CLI or the PATH, or built from its public module. What is not to be had is
 * skipped with the reason.
 */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { commandEnv, startBerth } from './support/berth-command.ts'
import { runGenerated, whyNoGenerator } from './support/generated-client.ts'
import { CONTRACT_FILE } from './support/koyeb.ts'
import { KOYEB_SDK, pythonWith } from './support/python-client.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

const CACHE = fileURLToPath(new URL('../.berth/koyeb-clients', import.meta.url))
const CLI_MODULE = 'github.com/koyeb/koyeb-cli/cmd/koyeb@latest'
const RUN_LIMIT_MS = 240_000
const IMAGE = 'localhost/busybox'
const HOST = process.env['BERTH_TEST_HOST'] === 'simulated' ? 'simulated' : 'qemu'

/** Every call is checked against the types that the schema gives, then made. */
const CLIENT = `
import createClient from 'openapi-fetch'
import type { paths } from './schema.d.ts'

const client = createClient<paths>({ baseUrl: process.env['KOYEB_URL'] ?? '', headers: { Authorization: 'Bearer ' + (process.env['KOYEB_TOKEN'] ?? '') } })
const listed = await client.GET('/v1/instances', { params: { query: { statuses: ['HEALTHY', 'SLEEPING'], limit: '100', order: 'desc' } } })
const instance = listed.data?.instances?.[0]
const id = instance?.id ?? ''
const described = await client.GET('/v1/instances/{id}', { params: { path: { id } } })
const events = await client.GET('/v1/instance_events', { params: { query: { instance_ids: [id], types: ['HEALTHY'], order: 'asc' } } })
const ran = await client.GET('/v1/streams/instances/exec', { params: { query: { id, 'body.command': ['echo', 'a,b', '[c]'], 'body.disableTty': true } } })
const service = await client.GET('/v1/services/{id}', { params: { path: { id: instance?.service_id ?? '' } } })
const app = await client.GET('/v1/apps/{id}', { params: { path: { id: instance?.app_id ?? '' } } })
const missing = await client.GET('/v1/instances/{id}', { params: { path: { id: '11111111-1111-4111-8111-111111111111' } } })
const wrong = await client.GET('/v1/instances', { params: { query: { limit: 'many' } } })
const made = await client.POST('/v1/apps', { body: { name: 'generated' } })
console.log(JSON.stringify({
  count: listed.data?.count,
  status: described.data?.instance?.status,
  types: events.data?.events?.map(event => event.type),
  stdout: Buffer.from(ran.data?.result?.stdout?.data ?? '', 'base64').toString(),
  exit: ran.data?.result?.exit_code,
  service: service.data?.service?.name,
  app: app.data?.app?.status,
  missing: missing.error && 'status' in missing.error ? missing.error.status : null,
  wrong: wrong.error && 'fields' in wrong.error ? wrong.error.fields?.[0]?.field : null,
  made: made.data?.app?.name,
}))
`

let server: TestServer
let scratch = ''
let id = ''

before(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'kc-'))
  server = await startServer({ host: HOST })
  const outcome = await startBerth(commandEnv(server), ['run', '-d', '--name', 'target', '--memory', '256MiB', IMAGE, 'sleep', '100000']).done
  assert.equal(outcome.status, 0, outcome.stderr)
  id = await eventually('it runs', async () => {
    const { body } = await server.request('GET', '/v1/instances?statuses=HEALTHY')
    return (body as { instances: { id: string }[] }).instances[0]?.id ?? null
  }, RUN_LIMIT_MS)
})
after(async () => {
  await server.stop()
  rmSync(scratch, { recursive: true, force: true })
})

test('a client generated from the schema does what its types promise', async t => {
  const reason = whyNoGenerator(CONTRACT_FILE)
  if (reason !== null) return t.skip(reason)
  const env = { KOYEB_URL: server.url, KOYEB_TOKEN: server.key }
  const told = await runGenerated({ contract: CONTRACT_FILE, dir: join(scratch, 'client'), source: CLIENT, env })
  assert.deepEqual(told, {
    count: 1,
    status: 'HEALTHY',
    types: ['HEALTHY'],
    stdout: 'a,b [c]\n',
    exit: 0,
    service: 'instances',
    app: 'HEALTHY',
    missing: 404,
    wrong: 'limit',
    made: 'generated',
  })
})

const PYTHON_PROGRAM = `
import base64, json, os
from koyeb import api

client = api.ApiClient(api.Configuration(host=os.environ['KOYEB_URL'], api_key={'Bearer': os.environ['KOYEB_TOKEN']}, api_key_prefix={'Bearer': 'Bearer'}))
instances = api.InstancesApi(client)
one = instances.list_instances(statuses=['HEALTHY']).instances[0]
ran = instances.exec_command(id=one.id, body_command=['sh', '-c', 'cat /proc/1/comm; echo $((6*7)) >&2; exit 5'], body_disable_tty=True).result
print(json.dumps([one.id, base64.b64decode(ran.stdout.data).decode(), base64.b64decode(ran.stderr.data).decode(), ran.exit_code]))
`

test('the vendor’s Python SDK executes in the VM', async t => {
  if (HOST === 'simulated') return t.skip('the simulated host has no guest')
  const found = pythonWith(KOYEB_SDK)
  if ('reason' in found) return t.skip(found.reason)
  const ran = await runProgram(found.python, ['-c', PYTHON_PROGRAM], { ...process.env, KOYEB_URL: server.url, KOYEB_TOKEN: server.key })
  assert.equal(ran.status, 0, ran.output)
  const [seen, stdout, stderr, exitCode] = JSON.parse(ran.output) as unknown[]
  assert.deepEqual([seen, stderr, exitCode], [id, '42\n', 5])
  assert.notEqual(stdout, '')
})

test('the vendor’s command line lists, describes, executes, copies and reads logs', async t => {
  const cli = await findCli()
  if (typeof cli !== 'string') return t.skip(cli.reason)
  if (HOST === 'simulated') return t.skip('the simulated host has no guest')
  const config = join(scratch, 'koyeb.yaml')
  writeFileSync(config, `url: ${server.url}\ntoken: ${server.key}\n`)
  const koyeb = (...args: readonly string[]) => runProgram(cli, ['--config', config, '--url', server.url, '--token', server.key, ...args], process.env)
  const short = id.slice(0, 8)
  for (const args of [['instances', 'list'], ['instances', 'get', short], ['instances', 'describe', id], ['instances', 'logs', id], ['apps', 'list'], ['services', 'list'], ['deployments', 'list']]) {
    const ran = await koyeb(...args)
    assert.equal(ran.status, 0, `koyeb ${args.join(' ')}\n${ran.output}`)
  }
  assert.match((await koyeb('instances', 'list', '-o', 'json')).output, new RegExp(id))
  const quoted = [cli, '--url', server.url, '--token', server.key, 'instances', 'exec', id, '--', 'sh', '-c', "'echo $((6*7)); exit 5'"].join(' ')
  const onTerminal = await runProgram('script', ['-qefc', quoted, '/dev/null'], process.env)
  assert.match(onTerminal.output, /\b42\b/)
  assert.equal(onTerminal.status, 5, onTerminal.output)
  writeFileSync(join(scratch, 'note.txt'), 'copied\n')
  const up = await koyeb('instances', 'cp', join(scratch, 'note.txt'), `${id}:/root`)
  assert.equal(up.status, 0, up.output)
  mkdirSync(join(scratch, 'back'), { recursive: true })
  const down = await koyeb('instances', 'cp', `${id}:/root/note.txt`, join(scratch, 'back'))
  assert.equal(down.status, 0, down.output)
  assert.equal(readFileSync(join(scratch, 'back', 'note.txt'), 'utf8'), 'copied\n')
})

/** The command line's path, or why there is none. */
async function findCli(): Promise<string | { readonly reason: string }> {
  const given = process.env['KOYEB_CLI']
  if (given !== undefined) return given
  const onPath = spawnSync('sh', ['-c', 'command -v koyeb'], { encoding: 'utf8' })
  if (onPath.status === 0) return onPath.stdout.trim()
  const built = join(CACHE, 'koyeb')
  if (existsSync(built)) return built
  if (spawnSync('go', ['version']).status !== 0) return { reason: 'neither koyeb nor Go is installed; set KOYEB_CLI to try it' }
  mkdirSync(CACHE, { recursive: true })
  const made = await runProgram('go', ['install', CLI_MODULE], { ...process.env, GOBIN: CACHE })
  if (made.status !== 0 || !existsSync(built)) return { reason: `${CLI_MODULE} can't be had from the module proxy; set KOYEB_CLI to try it` }
  return built
}

/** Without blocking: a server that hears nothing for long closes its connections. */
async function runProgram(file: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<{ readonly status: number | null; readonly output: string }> {
  const child = spawn(file, args, { env: { ...env, NODE_NO_WARNINGS: '1' }, stdio: ['ignore', 'pipe', 'pipe'], timeout: RUN_LIMIT_MS })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (output += text))
  const [status] = (await once(child, 'close')) as [number | null]
  return { status, output }
}
