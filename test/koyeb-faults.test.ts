/** What Koyeb's clients hear when Berth itself is at fault: on the server's own listener and engine, over a host that fails. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { pino } from 'pino'
import { koyebDialect } from '../src/dialects/koyeb/routes.ts'
import { loadCatalogue } from '../src/server/catalogue-file.ts'
import { makeListener } from '../src/server/listener.ts'
import type { Fixture } from './engine-fixture.ts'
import { engineFixture, eventually, SMALL } from './engine-fixture.ts'
import { cliFrames, loadKoyebContract, runSession } from './support/koyeb.ts'

const KEY = 'k'.repeat(64)
const INSIDES = 'row 7 of table secrets'
const contract = loadKoyebContract()
const stateDir = mkdtempSync(join(tmpdir(), 'kf-'))
let fixture: Fixture
let app: Awaited<ReturnType<typeof makeListener>>
let url = ''
let id = ''
/** What the engine falls over instead of running a command. */
let defect: Error | null = null

function withDefect(engine: Fixture['engine']): Fixture['engine'] {
  const exec: typeof engine.instances.exec = async (...given) => {
    if (defect !== null) throw defect
    return engine.instances.exec(...given)
  }
  return { ...engine, instances: { ...engine.instances, exec } }
}

before(async () => {
  fixture = await engineFixture()
  const { engine, caller } = fixture
  id = (await engine.instances.create(caller, { ...SMALL, name: 'faulty' })).id
  await eventually(async () => (await engine.instances.get(caller, id as never)).phase === 'running', 'it runs')
  const options = {
    engine: withDefect(engine),
    authenticate: async (secret: string) => (secret === KEY ? { ...caller, via: 'koyeb', permissions: null } : null),
    catalogue: loadCatalogue(stateDir),
    version: '0.0.0',
    stopping: new AbortController().signal,
    stateDir,
    now: () => Date.now(),
  }
  app = await makeListener({ log: pino({ level: 'silent' }), dialects: [{ dialect: koyebDialect, options }] })
  await app.listen({ host: '127.0.0.1', port: 0 })
  url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
})
after(async () => {
  await app.close()
  await fixture.close()
  rmSync(stateDir, { recursive: true, force: true })
})

test('a fault of the server is told without its insides: over a WebSocket with 1011, over HTTP with 500', async () => {
  defect = new TypeError(INSIDES)
  const { error, closeCode, frames } = await runSession({ url, key: KEY, contract }, ...cliFrames(id, ['true']))
  assert.deepEqual([closeCode, error?.code, error?.message, frames.length], [1011, 13, 'internal_server_error', 1])
  assert.ok(!JSON.stringify(frames).includes(INSIDES))
  const answer = await fetch(`${url}/v1/streams/instances/exec?id=${id}&body.command=true`, { headers: { authorization: `Bearer ${KEY}` } })
  const text = await answer.text()
  const { status, code } = JSON.parse(text) as { status: number; code: string }
  assert.deepEqual([answer.status, status, code], [500, 500, 'internal_server_error'])
  assert.ok(!text.includes(INSIDES))
  defect = null
})

test('a host that is away is not Berth’s fault: 1008 with what to do, and the next command runs', async () => {
  fixture.host.setFaults(({ call }) => (call === 'exec' ? { kind: 'before', code: 'host_unavailable', message: 'The host does not answer: try again in a moment.' } : null))
  const { error, closeCode } = await runSession({ url, key: KEY, contract }, ...cliFrames(id, ['true']))
  assert.deepEqual([closeCode, error?.code, error?.message], [1008, 14, 'service_unavailable'])
  fixture.host.setFaults(() => null)
  const { exitCode, closeCode: normal } = await runSession({ url, key: KEY, contract }, ...cliFrames(id, ['true']))
  assert.deepEqual([exitCode, normal], [0, 1000])
})
