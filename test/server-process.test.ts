/** The server as a process: its data directory, its key, its start, its end and its death. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { openExec } from './support/exec-socket.ts'
import { eventually, send, startServer } from './support/server.ts'
import type { TestServer } from './support/server.ts'

const MAIN = fileURLToPath(new URL('../src/server/main.ts', import.meta.url))
const CLI = fileURLToPath(new URL('../src/cli/main.ts', import.meta.url))
const IMAGE = 'localhost/busybox'

async function inDataDir(run: (dataDir: string) => Promise<void>): Promise<void> {
  const dataDir = mkdtempSync(join(tmpdir(), 'sp-'))
  try {
    await run(dataDir)
  } finally {
    rmSync(dataDir, { recursive: true })
  }
}

/** Runs a server that is expected to refuse; its only line on stderr that is no log. */
function refusal(env: Readonly<Record<string, string>>): string {
  const ended = spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', MAIN], {
    env: { PATH: process.env['PATH'] ?? '', HOME: '/root', BERTH_HOST: 'simulated', BERTH_LISTEN: '127.0.0.1:0', ...env },
    encoding: 'utf8',
    timeout: 60_000,
  })
  assert.equal(ended.status, 1, ended.stdout + ended.stderr)
  return ended.stderr.split('\n').filter(line => line !== '' && !line.startsWith('{')).join('\n')
}

async function launch(server: TestServer, name: string): Promise<string> {
  await eventually('the image is ready', async () => {
    const { body } = await server.request('POST', '/images', { body: { name: IMAGE } })
    return (body as { status: string }).status === 'ready' ? true : null
  })
  const { status, body, text } = await server.request('POST', '/instances', { body: { name, image: IMAGE, size: '128MB' } })
  assert.equal(status, 201, text)
  return (body as { id: string }).id
}

test('the first start makes a key, tells it once, and keeps it for its owner alone', async () => {
  await inDataDir(async dataDir => {
    const first = await startServer({ dataDir })
    assert.match(first.key, /^[A-Za-z0-9]{64}$/)
    assert.ok(first.output().includes(first.key))
    assert.equal(statSync(join(dataDir, 'admin.key')).mode & 0o777, 0o600)
    await first.stop()
    const second = await startServer({ dataDir })
    assert.equal(second.key, first.key)
    assert.ok(!second.output().includes(first.key))
    assert.equal((await second.request('GET', '/instances')).status, 200)
    await second.stop()
  })
})

test('a key that is lost is made again; one from outside takes its place', async () => {
  await inDataDir(async dataDir => {
    const first = await startServer({ dataDir })
    await first.stop()
    writeFileSync(join(dataDir, 'admin.key'), 'something else\n')
    const second = await startServer({ dataDir })
    assert.notEqual(second.key, first.key)
    assert.equal((await second.request('GET', '/instances')).status, 200)
    await second.stop()
    const given = 'a-key-that-was-given-from-outside'
    const third = await startServer({ dataDir, env: { BERTH_ADMIN_KEY: given } })
    assert.equal(third.key, given)
    assert.equal((await third.request('GET', '/instances')).status, 200)
    assert.equal((await send(third.url, 'GET', '/instances', { key: second.key })).status, 200)
    await third.stop()
  })
})

test('two servers can’t share a data directory, and a dead one does not hold it', async () => {
  await inDataDir(async dataDir => {
    const first = await startServer({ dataDir })
    const words = refusal({ BERTH_DATA_DIR: dataDir })
    assert.ok(words.includes(`pid ${first.pid}`) && words.includes(first.url) && words.includes('--data-dir'), words)
    await first.kill()
    const second = await startServer({ dataDir })
    await second.stop()
  })
})

test('a server that was killed is followed by one that knows everything', async () => {
  await inDataDir(async dataDir => {
    const first = await startServer({ dataDir })
    const id = await launch(first, 'survivor')
    await first.request('POST', `/instances/${id}/standby`)
    await first.kill()
    const second = await startServer({ dataDir })
    const { body } = await second.request('GET', '/instances/survivor')
    assert.equal((body as { id: string }).id, id)
    assert.equal((body as { state: string }).state, 'Standby')
    assert.equal((await second.request('POST', `/instances/${id}/restore`)).status, 200)
    await second.stop()
  })
})

test('an end that is asked for closes streams and waits, and exits with 0', async () => {
  const server = await startServer()
  const id = await launch(server, 'watched')
  const follow = await fetch(new URL(`/instances/${id}/logs?follow=true`, server.url), { headers: { authorization: `Bearer ${server.key}` } })
  const waiting = server.request('GET', `/instances/${id}/wait?state=Standby&timeout=5m`).catch(() => null)
  const session = await openExec(server.url, server.key, id, { command: ['cat'] })
  await server.stop({ keepInstances: true })
  assert.equal((await session.outcome).exitCode, null)
  assert.match(await follow.text().catch(() => 'data: closed'), /data: /)
  const waited = await waiting
  assert.ok(waited === null || waited.status === 503 || (waited.body as { timed_out?: boolean }).timed_out === true, waited?.text)
})

test('a bad setting is one sentence', () => {
  assert.match(refusal({ BERTH_LISTEN: 'nowhere' }), /^BERTH_LISTEN is "nowhere": write an address and a port, like 127\.0\.0\.1:8080 or \[::1\]:8080$/)
  assert.match(refusal({ BERTH_HOST: 'docker' }), /^BERTH_HOST is "docker": use one of qemu, simulated$/)
  assert.match(refusal({ BERTH_DATA_DIR: '/proc/nothing' }), /^The data directory \/proc\/nothing can't be made: .*--data-dir\.$/)
})

test('an address that is taken is one sentence, and the data directory is free afterwards', async () => {
  await inDataDir(async dataDir => {
    const taken = createServer()
    await new Promise<void>(resolve => taken.listen(0, '127.0.0.1', resolve))
    const { port } = taken.address() as AddressInfo
    assert.match(refusal({ BERTH_DATA_DIR: dataDir, BERTH_LISTEN: `127.0.0.1:${port}` }), /can't listen on 127\.0\.0\.1:\d+: something else listens there; .*--listen/)
    taken.close()
    const server = await startServer({ dataDir })
    await server.stop()
  })
})

test('doctor knows its own server by both of its ports, and a stranger by neither', async () => {
  await using server = await startServer({ env: { BERTH_MCP_LISTEN: '127.0.0.1:0' } })
  const { url, mcpUrl } = JSON.parse(readFileSync(join(server.dataDir, 'server.json'), 'utf8')) as { readonly url: string; readonly mcpUrl: string }
  const ports = (api: string) => {
    const { stdout, stderr } = spawnSync(process.execPath, [CLI, 'doctor', '--json'], {
      env: { PATH: process.env['PATH'] ?? '', HOME: '/root', BERTH_ACCEL: 'tcg', BERTH_DATA_DIR: server.dataDir, BERTH_LISTEN: api, BERTH_MCP_LISTEN: new URL(mcpUrl).host },
      encoding: 'utf8',
      timeout: 60_000,
    })
    assert.notEqual(stdout, '', stderr)
    const checks = JSON.parse(stdout) as readonly { readonly name: string; readonly status: string; readonly detail: string }[]
    return checks.filter(({ name }) => name.startsWith('port ')).map(({ status, detail }) => `${status} ${detail}`)
  }
  const known = (at: string) => `ok the server of this data directory is at ${at}`
  assert.deepEqual(ports(new URL(url).host), [known(url), known(mcpUrl)])
  const stranger = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => stranger.once('listening', resolve))
  const { port } = stranger.address() as AddressInfo
  stranger.on('connection', socket => socket.destroy())
  assert.deepEqual(ports(`127.0.0.1:${port}`), [`warning 127.0.0.1:${port} is taken by another program`, known(mcpUrl)])
  stranger.close()
})

test('nothing in the data directory can be read by others', async () => {
  await inDataDir(async dataDir => {
    const server = await startServer({ dataDir })
    await launch(server, 'private')
    const open = execFileSync('find', [dataDir, '-type', 'f', '-perm', '/077', '-not', '-name', 'server.json'], { encoding: 'utf8' })
    await server.stop()
    assert.equal(open, '')
    assert.equal(readFileSync(join(dataDir, 'admin.key'), 'utf8').length, 65)
  })
})
