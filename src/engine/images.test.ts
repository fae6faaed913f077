/** Names and the content that they stand for: queueing, failing, sharing, and removing what nothing needs. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import type { Fixture } from '../../test/engine-fixture.ts'
import { BUSYBOX, engineFixture, eventually, SMALL } from '../../test/engine-fixture.ts'
import { BerthError } from '../instance/errors.ts'
import type { Image } from '../instance/model.ts'
import type { Caller } from './api.ts'

let fixture: Fixture
let caller: Caller

beforeEach(async () => {
  fixture = await engineFixture({ host: { latencies: { pullImage: 20 } }, config: { parallelPulls: 1, limits: { maxQueuedPulls: 3 } } })
  caller = fixture.caller
})
afterEach(() => fixture.close())

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'ok',
    (error: unknown) => (error instanceof BerthError ? error.code : String(error)),
  )
const settled = (name: string): Promise<Image> => fixture.engine.images.wait(caller, name, { timeoutMs: 10_000 })
const contents = async () => (await fixture.host.images()).map(image => image.digest)

test('pulls wait in a queue, first come first served, and the same name is pulled once', async () => {
  const { images } = fixture.engine
  const states = await Promise.all(['a', 'b', 'c'].map(name => images.pull(caller, { name: `example.com/${name}` })))
  assert.deepEqual(states.map(image => image.status), ['pulling', 'pending', 'pending'])
  assert.deepEqual(states.map(image => image.queuePosition), [null, 1, 2])
  await images.pull(caller, { name: 'example.com/c:latest' })
  assert.equal((await images.get(caller, 'example.com/c')).queuePosition, 2)
  const done = await settled('example.com/c')
  assert.equal(done.status, 'ready')
  assert.equal(done.name, 'example.com/c:latest')
  assert.equal((await images.get(caller, `example.com/c@${done.digest}`)).name, done.name)
  assert.deepEqual((await images.list(caller)).map(image => image.status), ['ready', 'ready', 'ready', 'ready'])
})

test('a queue that is full says rate_limited', async () => {
  for (const name of ['a', 'b', 'c', 'd']) await fixture.engine.images.pull(caller, { name: `example.com/${name}` })
  assert.equal(await codeOf(fixture.engine.images.pull(caller, { name: 'example.com/e' })), 'rate_limited')
})

test('a pull that fails tells why, refuses instances, and can be tried again', async () => {
  await fixture.engine.images.pull(caller, { name: 'example.com/denied' })
  const failed = await settled('example.com/denied')
  assert.equal(failed.status, 'failed')
  assert.match(failed.error ?? '', /needs credentials/)
  assert.equal(await codeOf(fixture.engine.instances.create(caller, { ...SMALL, image: 'example.com/denied' })), 'image_failed')
  await fixture.engine.images.pull(caller, { name: 'example.com/denied', credentials: { username: 'u', password: 'p' } })
  assert.equal((await settled('example.com/denied')).status, 'ready')
})

test('an image that is on its way refuses instances with image_not_ready', async () => {
  await fixture.engine.images.pull(caller, { name: 'example.com/slow' })
  assert.equal(await codeOf(fixture.engine.instances.create(caller, { ...SMALL, image: 'example.com/slow' })), 'image_not_ready')
})

test('content goes when no name and no living instance needs it, and not before', async () => {
  const { images, instances } = fixture.engine
  await images.pull(caller, { name: 'example.com/app' })
  const { digest } = await settled('example.com/app')
  assert.ok(digest !== null)
  await images.tag(caller, 'example.com/app', 'example.com/app:copy')
  const made = await instances.create(caller, { ...SMALL, image: 'example.com/app' })
  await images.delete(caller, 'example.com/app')
  assert.ok((await contents()).includes(digest))
  assert.equal(await codeOf(images.delete(caller, 'example.com/app:copy')), 'image_in_use')
  const deleting = await instances.delete(caller, made.id)
  await instances.wait(caller, made.id, { until: ['deleted'], timeoutMs: 10_000, since: deleting })
  await images.delete(caller, 'example.com/app:copy')
  await eventually(async () => !(await contents()).includes(digest), 'the content is removed')
})

test('content that another project names stays', async () => {
  const { images, projects } = fixture.engine
  const tenant = await projects.create(caller, { name: 'tenant' })
  const other: Caller = { ...caller, projectId: tenant.id }
  for (const who of [caller, other]) {
    await images.pull(who, { name: 'example.com/app' })
    await images.wait(who, 'example.com/app', { timeoutMs: 10_000 })
  }
  await images.delete(caller, 'example.com/app')
  assert.equal(await codeOf(images.get(caller, 'example.com/app')), 'image_not_found')
  assert.equal((await images.get(other, 'example.com/app')).status, 'ready')
  await fixture.reopen()
  assert.equal((await contents()).length, 2)
})

test('a pull that a crash cut off is queued again at the next start', async () => {
  await fixture.engine.images.pull(caller, { name: 'example.com/app' })
  await fixture.reopen()
  assert.equal((await settled('example.com/app')).status, 'ready')
})

test('the built-in image belongs to every project, and stays', async () => {
  const stranger: Caller = { ...caller, projectId: 'ffffffff-0000-4000-8000-000000000000' as Caller['projectId'] }
  assert.equal((await fixture.engine.images.get(stranger, 'localhost/busybox:latest')).status, 'ready')
  assert.equal((await fixture.engine.images.pull(stranger, { name: BUSYBOX })).status, 'ready')
  assert.equal(await codeOf(fixture.engine.images.delete(caller, BUSYBOX)), 'image_in_use')
})

test('an archive becomes an image under the name that it is given', async () => {
  async function* archive() {
    yield Buffer.from('layers')
  }
  const made = await fixture.engine.images.import(caller, 'mine:1', archive())
  assert.equal(made.name, 'docker.io/library/mine:1')
  assert.equal(made.status, 'ready')
  async function* nothing() {}
  assert.equal(await codeOf(fixture.engine.images.import(caller, 'mine:2', nothing())), 'invalid_archive')
  assert.equal(await codeOf(fixture.engine.images.get(caller, 'mine:2')), 'image_not_found')
})
