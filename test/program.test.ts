/** The packed program: the same as the sources, in few files. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readdirSync, readFileSync, rmSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import { packProgram } from '../scripts/pack-program.ts'
import { exec } from './support/exec-socket.ts'
import { startServer } from './support/server.ts'

let dir = ''

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'bt-program-'))
  await packProgram(join(dir, 'program'))
})
after(() => rmSync(dir, { recursive: true, force: true }))

test('a packed server serves every API, MCP and commands as the sources do', async () => {
  await using server = await startServer({ main: join(dir, 'program/server.mjs'), env: { BERTH_MCP_LISTEN: '127.0.0.1:0' } })
  assert.equal((await server.request('POST', '/images', { body: { name: 'localhost/busybox' } })).status, 202)
  const created = await server.request('POST', '/instances', { body: { name: 'packed', image: 'localhost/busybox', size: '128MB' } })
  assert.equal(created.status, 201, created.text)
  for (const path of ['/instances', '/v1/instances', '/api/v1/instances', '/v2/me', '/berth/v1/instances', '/healthz', '/metrics']) {
    const { status, text } = await server.request('GET', path)
    assert.equal(status, 200, `${path}: ${text}`)
  }
  // A body that is wrong is told in the same words: the schemas and their checks are there.
  const refused = await server.request('POST', '/berth/v1/instances', { body: { name: 'x', wrong: 1 } })
  assert.equal(refused.status, 400)
  assert.match(refused.text, /There is no field .*wrong/)
  assert.deepEqual(await exec(server.url, server.key, 'packed', { command: ['echo', 'hello'] }).then(({ output, exitCode }) => ({ output, exitCode })), { output: 'hello\n', exitCode: 0 })
  const { mcpUrl } = JSON.parse(readFileSync(join(server.dataDir, 'server.json'), 'utf8')) as { readonly mcpUrl: string }
  const answer = await fetch(mcpUrl, { method: 'POST', headers: { authorization: `Bearer ${server.key}`, 'content-type': 'application/json', accept: 'application/json, text/event-stream' }, body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'test', version: '1' } } }) })
  assert.equal(answer.status, 200)
  assert.match(await answer.text(), /serverInfo/)
})

test('every command of a packed command line is there', async () => {
  const run = promisify(execFile)
  const { stdout } = await run(process.execPath, [join(dir, 'program/cli.mjs'), 'help'], { env: { ...process.env, NO_COLOR: '1' } })
  const plain = await run(process.execPath, [join(import.meta.dirname, '../src/cli/main.ts'), 'help'], { env: { ...process.env, NO_COLOR: '1' } })
  assert.equal(stdout, plain.stdout)
})

test('files are found beside the sources, wherever the pack is', () => {
  for (const name of readdirSync(join(dir, 'program'), { recursive: true, encoding: 'utf8' })) {
    if (name.endsWith('.mjs')) assert.doesNotMatch(readFileSync(join(dir, 'program', name), 'utf8'), /new URL\([^)]*import\.meta\.url\)/, name)
  }
})
