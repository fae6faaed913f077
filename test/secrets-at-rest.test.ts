/** Where the value of a secret lies: in the guest that has it, and sealed in the database. Nowhere else. */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { InstanceBody } from '../src/dialects/native/schema/instances.ts'
import { eventually } from './engine-fixture.ts'
import { makeNativeClient } from './support/native-client.ts'
import { startServer } from './support/server.ts'

const IMAGE = 'localhost/busybox'
const VALUE = 'correct-horse-battery-at-rest'
const CMD = ['sh', '-c', 'echo "has ${#TOKEN} characters"; sleep 100000']

/** Files of the data directory but those that are a guest's own memory and disks. */
function recordsIn(dir: string): readonly string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile() && /\.(json|log|db|db-wal|db-shm|key)$/.test(entry.name))
    .map(entry => join(entry.parentPath, entry.name))
}

test('a VM has its secrets, and no record of it, of a snapshot or of the server has their values', { timeout: 180_000 }, async () => {
  const server = await startServer({ host: 'qemu' })
  try {
    const api = await makeNativeClient(server)
    await api.ok(200, 'GET', `/images/${encodeURIComponent(`${IMAGE}:latest`)}/wait?timeoutMs=60000`)
    await api.ok(200, 'PUT', '/secrets/TOKEN', { body: { value: VALUE } })
    await api.ok(201, 'POST', '/instances?wait=running', { body: { image: IMAGE, name: 'keeper', secrets: ['TOKEN'], cmd: CMD } })
    await eventually(async () => (await server.request('GET', '/berth/v1/instances/keeper/logs')).text.includes(`has ${VALUE.length} characters`), 'the application told its length')
    await api.ok(201, 'POST', '/instances/keeper/snapshots', { body: { name: 'kept' } })
    const records = recordsIn(server.dataDir)
    assert.ok(records.some(file => file.endsWith('vm.json')) && records.some(file => file.includes('/snapshots/')) && records.some(file => file.endsWith('berth.db')))
    assert.deepEqual(records.filter(file => readFileSync(file).includes(VALUE)), [])
    assert.equal(statSync(join(server.dataDir, 'secrets.key')).mode & 0o777, 0o600)
    // Sleep and wake need no value; a new start brings it again.
    await api.ok(200, 'POST', '/instances/keeper/standby?wait=true')
    await api.ok(200, 'POST', '/instances/keeper/restore?wait=true')
    await api.ok(200, 'POST', '/instances/keeper/restart?wait=true')
    await eventually(async () => (await server.request('GET', '/berth/v1/instances/keeper/logs')).text.split(`has ${VALUE.length} characters`).length === 3, 'it told it again after the restart')
    await api.ok(200, 'DELETE', '/snapshots/kept').catch(() => undefined)
  } finally {
    await server.stop()
  }
})

test('without its key the server says what is lost, and goes on', { timeout: 120_000 }, async t => {
  const dataDir = mkdtempSync(join(tmpdir(), 'bt-'))
  t.after(() => rmSync(dataDir, { recursive: true, force: true }))
  const first = await startServer({ dataDir })
  const api = await makeNativeClient(first)
  await api.ok(200, 'GET', `/images/${encodeURIComponent(`${IMAGE}:latest`)}/wait?timeoutMs=60000`)
  await api.ok(200, 'PUT', '/secrets/TOKEN', { body: { value: VALUE } })
  await api.ok(201, 'POST', '/instances?wait=running', { body: { image: IMAGE, name: 'keeper', secrets: ['TOKEN'], cmd: CMD } })
  await api.ok(200, 'POST', '/instances/keeper/stop?wait=true')
  await first.stop({ keepInstances: true })
  rmSync(join(dataDir, 'secrets.key'))
  const server = await startServer({ dataDir })
  try {
    const again = await makeNativeClient(server)
    assert.match(server.output(), /1 secrets can't be opened/)
    const { status, text } = await server.request('POST', '/berth/v1/instances/keeper/start?wait=true')
    assert.ok(status >= 400 && status < 500, `${status} ${text}`)
    assert.match(text, /The secret TOKEN can't be opened/)
    await again.ok(201, 'POST', '/instances?wait=running', { body: { image: IMAGE, name: 'other', cmd: ['sleep', '100000'] } })
    await again.ok(200, 'PUT', '/secrets/TOKEN', { body: { value: VALUE } })
    assert.equal((await again.ok<InstanceBody>(200, 'POST', '/instances/keeper/start?wait=true')).phase, 'running')
  } finally {
    await server.stop()
  }
})
