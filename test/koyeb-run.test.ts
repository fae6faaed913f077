/** A command as one request and one answer, on Koyeb's exec path and on the published capability's, on a simulated host. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Ajv } from 'ajv'
import { judgedCalls, loadKoyebContract } from './support/koyeb.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

const IMAGE = 'localhost/busybox'
const NOBODY = '11111111-1111-4111-8111-111111111111'

let server: TestServer
const call = judgedCalls(() => server, loadKoyebContract())
let awake = ''
let stopped = ''

before(async () => {
  server = await startServer()
  await eventually('the built-in image is ready', async () => {
    const { status, body } = await server.request('GET', `/images/${encodeURIComponent(IMAGE)}`)
    if (status === 404) await server.request('POST', '/images', { body: { name: IMAGE } })
    return status === 200 && (body as { status: string }).status === 'ready' ? true : null
  })
  awake = await launch('awake')
  stopped = await launch('stopped')
  await act(stopped, 'stop', 'STOPPED')
})
after(() => server.stop())

async function launch(name: string): Promise<string> {
  const { status, body, text } = await server.request('POST', '/berth/v1/instances', { body: { name, image: IMAGE, cmd: ['sleep', 'infinity'] } })
  assert.ok(status < 300, text)
  const { id } = body as { id: string }
  await reaches(id, 'HEALTHY')
  return id
}

async function act(id: string, action: string, status: string): Promise<void> {
  const answer = await server.request('POST', `/berth/v1/instances/${id}/${action}`, { body: {} })
  assert.ok(answer.status < 300, answer.text)
  await reaches(id, status)
}

async function reaches(id: string, status: string): Promise<void> {
  await eventually(`${id} is ${status}`, async () => ((await shown(id)).status === status ? true : null))
}

async function shown(id: string): Promise<{ readonly status: string; readonly service_id: string }> {
  return ((await call('GET', `/v1/instances/${id}`)).body as { instance: { status: string; service_id: string } }).instance
}

const PATHS = ['/v1/streams/instances/exec', '/v1/v1/streams/instances/exec'] as const
// As the published behaviour has it: closed, and every key there.
const isRunReply = new Ajv({ allErrors: true, allowUnionTypes: true }).compile({
  type: 'object',
  additionalProperties: false,
  required: ['stdout', 'stderr', 'encoding', 'exit_code', 'signal', 'timed_out', 'truncated', 'duration_ms', 'instance_id'],
  properties: {
    stdout: { type: 'string' },
    stderr: { type: 'string' },
    encoding: { type: 'string', enum: ['utf-8', 'base64'] },
    exit_code: { type: ['integer', 'null'] },
    signal: { type: ['string', 'null'] },
    timed_out: { type: 'boolean' },
    truncated: {
      type: 'object',
      additionalProperties: false,
      required: ['stdout', 'stderr'],
      properties: { stdout: { type: 'boolean' }, stderr: { type: 'boolean' } },
    },
    duration_ms: { type: 'integer', minimum: 0 },
    instance_id: { type: 'string' },
  },
})
interface Ran {
  readonly stdout: string
  readonly stderr: string
  readonly encoding: string
  readonly exit_code: number | null
  readonly signal: string | null
  readonly timed_out: boolean
  readonly truncated: { readonly stdout: boolean; readonly stderr: boolean }
  readonly instance_id: string
}
const run = async (body: Readonly<Record<string, unknown>>, path: string = PATHS[1]): Promise<Ran> => {
  // The contract knows no POST there, so the schema above judges instead.
  const answer = await server.request('POST', path, { body: { id: awake, ...body } })
  assert.equal(answer.status, 200, answer.text)
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  assert.match(answer.headers.get('content-type') ?? '', /^application\/json/)
  assert.ok(isRunReply(answer.body), `${answer.text}: ${JSON.stringify(isRunReply.errors)}`)
  return answer.body as Ran
}

for (const path of PATHS) {
  test(`POST ${path} runs a command to its end`, async () => {
    const said = await run({ command: ['echo', 'a,b', '[c]'] }, path)
    assert.deepEqual([said.stdout, said.stderr, said.encoding, said.exit_code, said.signal, said.timed_out], ['a,b [c]\n', '', 'utf-8', 0, null, false])
    assert.equal(said.instance_id, awake)
    assert.equal((await run({ command: ['exit', '3'] }, path)).exit_code, 3)
    assert.equal((await run({ command: ['err', 'oops'] }, path)).stderr, 'oops\n')
  })
}

test('it gets its input and its variables, under their own names', async () => {
  assert.equal((await run({ command: ['cat'], stdin: 'grüße' })).stdout, 'grüße')
  const binary = await run({ command: ['cat'], stdin: Buffer.from([255, 0]).toString('base64'), stdin_encoding: 'base64' })
  assert.deepEqual([binary.encoding, binary.stdout], ['base64', Buffer.from([255, 0]).toString('base64')])
  assert.match((await run({ command: ['env'], env: { camelCase: '1', UPPER: '2' } })).stdout, /camelCase=1\nUPPER=2\n/)
  assert.match((await run({ command: ['env'], tty: true, workdir: '/tmp' })).stdout, /TERM=xterm-256color/)
  const much = 'x'.repeat(1_500_000)
  const cut = await run({ command: ['cat'], stdin: much })
  assert.deepEqual([cut.stdout.length, cut.truncated], [65_536, { stdout: true, stderr: false }])
  assert.equal((await run({ command: ['cat'], stdin: much, max_output_bytes: 1000 })).stdout.length, 1000)
})

test('one whose time is over is a result', async () => {
  const said = await run({ command: ['sleep', '100000'], timeout_ms: 100 })
  assert.deepEqual([said.timed_out, said.exit_code, said.signal], [true, null, 'SIGKILL'])
})

test('a service is named as well, and one that sleeps is woken', async () => {
  const { service_id } = await shown(awake)
  assert.equal((await run({ id: service_id, id_type: 'SERVICE_ID', command: ['true'] })).instance_id, awake)
  const sleeper = await launch('asleep')
  await act(sleeper, 'standby', 'SLEEPING')
  assert.equal((await run({ id: sleeper, command: ['echo', 'awake'] })).stdout, 'awake\n')
  assert.equal((await shown(sleeper)).status, 'HEALTHY')
})

test('what did not run is an error with the field that is wrong', async () => {
  const table: readonly (readonly [Readonly<Record<string, unknown>>, number, string | null])[] = [
    [{}, 400, 'command'],
    [{ command: [] }, 400, 'command'],
    [{ command: 'ls' }, 400, 'command'],
    [{ command: ['ls', 1] }, 400, 'command[1]'],
    [{ command: Array.from({ length: 257 }, () => 'x') }, 400, 'command'],
    [{ command: ['a\0b'] }, 400, 'command[0]'],
    [{ command: ['true'], id: '' }, 400, 'id'],
    [{ command: ['true'], id: 'x?y' }, 400, 'id'],
    [{ command: ['true'], id_type: 'NOPE' }, 400, 'id_type'],
    [{ command: ['cat'], stdin: '%%', stdin_encoding: 'base64' }, 400, 'stdin'],
    [{ command: ['cat'], stdin: 'x'.repeat(2_097_153) }, 400, 'stdin'],
    [{ command: ['cat'], stdin: 'x', stdin_encoding: 'hex' }, 400, 'stdin_encoding'],
    [{ command: ['env'], env: { A: 1 } }, 400, 'env.A'],
    [{ command: ['env'], env: { 'A=B': 'x' } }, 400, 'env'],
    [{ command: ['true'], workdir: 'relative' }, 400, 'workdir'],
    [{ command: ['true'], tty: 'yes' }, 400, 'tty'],
    [{ command: ['true'], timeout_ms: 99 }, 400, 'timeout_ms'],
    [{ command: ['true'], timeout_ms: 600_001 }, 400, 'timeout_ms'],
    [{ command: ['true'], max_output_bytes: 0 }, 400, 'max_output_bytes'],
    [{ command: ['true'], max_output_bytes: 1_048_577 }, 400, 'max_output_bytes'],
    [{ command: ['no-such-program'] }, 400, null],
    [{ command: ['true'], id: NOBODY }, 404, null],
    [{ command: ['true'], id: stopped }, 400, null],
  ]
  for (const [body, status, field] of table) {
    const answer = await call('POST', PATHS[1], { body: { id: awake, ...body } })
    assert.equal(answer.status, status, `${JSON.stringify(body).slice(0, 200)}: ${answer.text}`)
    if (field !== null) assert.equal((answer.body as { fields: { field: string }[] }).fields[0]?.field, field, answer.text)
  }
  assert.equal((await call('POST', PATHS[1], { key: null, body: { id: awake, command: ['true'] } })).status, 401)
  assert.equal((await call('PUT', PATHS[1], { body: {} })).status, 404)
})

test('a link on another site’s page, or a browser that looks ahead, runs nothing', async () => {
  const get = (headers: Readonly<Record<string, string>>) => call('GET', `${PATHS[1]}?id=${awake}&body.command=true`, { headers })
  for (const headers of [{ 'sec-fetch-site': 'cross-site' }, { 'sec-purpose': 'prefetch;prerender' }, { purpose: 'prefetch' }]) {
    const answer = await get(headers)
    assert.equal(answer.status, 403, JSON.stringify(headers))
    assert.equal(answer.headers.get('cache-control'), 'no-store')
  }
  assert.equal((await get({ 'sec-fetch-site': 'same-origin' })).status, 200)
})
