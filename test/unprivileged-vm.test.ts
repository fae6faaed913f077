/** A whole server without root, as another user of the machine: instances come from templates, sleep and wake, also under the next server. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { InstanceBody } from '../src/dialects/native/schema/instances.ts'
import { makeNativeClient, type NativeClient } from './support/native-client.ts'
import { eventually, startServer, type TestServer } from './support/server.ts'

const NOBODY = 65_534
const WAIT_MS = 120_000
const COUNTING = 'i=0; while true; do i=$((i+1)); echo $i >/count; sleep 0.1; done'

/** A checkout in somebody's home can't be read by others. */
const canRun = [process.execPath, join(import.meta.dirname, '../src/server/main.ts')].every((path) => spawnSync('test', ['-r', path], { uid: NOBODY, gid: NOBODY, cwd: '/' }).status === 0)
const yama = '/proc/sys/kernel/yama/ptrace_scope'
const isClosed = existsSync(yama) && readFileSync(yama, 'utf8').trim() !== '0'
const skip = process.getuid?.() !== 0 ? 'only root may become another user' : !canRun ? 'others can’t read this checkout' : false

describe('a server without root', { skip }, () => {
  let dataDir = ''
  let server: TestServer
  let api: NativeClient
  before(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'bt-'))
    await open()
  })
  after(async () => {
    await server.stop()
    rmSync(dataDir, { recursive: true, force: true })
  })

  test('makes templates and clones its instances from them, where it may read the memory of its VMs', async () => {
    assert.ok((await api.ok<{ warnings: readonly string[] }>(200, 'GET', '/host')).warnings.some((text) => /user-mode network/.test(text)))
    if (isClosed) {
      assert.match(server.output(), /instances boot from nothing/)
      return
    }
    await eventually('a template', async () => (templates().length > 0 ? true : null), WAIT_MS)
    const first = await launch('first')
    assert.match(noteOf(first), /\(cloned from a template\)/)
    assert.match(await run(first.id, 'hostname; id -u; ip -4 -o addr show eth0'), /^first\n0\n.*inet 10\./s)
    const second = await launch('second')
    const [one, two] = await Promise.all([first, second].map(({ id }) => run(id, 'head -c 16 /dev/urandom | md5sum')))
    assert.notEqual(one, two)
  })

  test('puts them to sleep and wakes them with their processes, also when another server does it', async () => {
    const { id } = await launch('sleeper')
    const count = async () => Number(await run(id, 'cat /count 2>/dev/null || echo 0'))
    await eventually('a count', async () => ((await count()) > 0 ? true : null), WAIT_MS)
    for (const round of [0, 1, 2]) {
      const before = await count()
      // The VM is no child of the server that saves it.
      if (round === 1) await another()
      await api.ok(200, 'POST', `/instances/${id}/standby?wait=true&timeoutMs=${WAIT_MS}`)
      if (round === 2) await another()
      await api.ok(200, 'POST', `/instances/${id}/restore?wait=true&timeoutMs=${WAIT_MS}`)
      await eventually('the count to go on', async () => ((await count()) > before ? true : null), WAIT_MS)
    }
  })

  async function another(): Promise<void> {
    await server.kill()
    await open()
  }

  async function open(): Promise<void> {
    server = await startServer({ host: 'qemu', dataDir, uid: NOBODY, env: { BERTH_RUN_DIR: join(dataDir, 'run'), HOME: dataDir, NODE_COMPILE_CACHE: join(dataDir, 'cache') } })
    api = await makeNativeClient(server)
  }

  const templates = () => (existsSync(join(dataDir, 'templates')) ? readdirSync(join(dataDir, 'templates')).filter((id) => existsSync(join(dataDir, 'templates', id, 'template.json'))) : [])

  async function launch(name: string): Promise<InstanceBody> {
    const body = { name, hostname: name, image: 'localhost/busybox', pull: 'missing', cmd: ['sh', '-c', COUNTING] }
    return await api.ok<InstanceBody>(201, 'POST', `/instances?wait=running&timeoutMs=${WAIT_MS}`, { body })
  }

  const noteOf = ({ id }: InstanceBody) => readFileSync(join(dataDir, 'instances', id, 'server.log'), 'utf8')

  async function run(id: string, script: string): Promise<string> {
    const { stdout, stderr, end } = await api.exec(id, { command: ['sh', '-c', script] })
    assert.equal(end['code'], 0, `${script}: ${stderr.toString()} ${JSON.stringify(end)}`)
    return stdout.toString()
  }
})
