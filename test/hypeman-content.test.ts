/** The Hypeman surface over HTTP on a simulated host: volumes and images. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import type { InstanceBody, VolumeBody } from './support/hypeman.ts'
import { HYPEMAN_ID, hypemanSuite, IMAGE, refuses } from './support/hypeman.ts'
import type { Answer } from './support/server.ts'
import { eventually } from './support/server.ts'

const suite = hypemanSuite([
  'GET /volumes 200',
  'POST /volumes 201',
  'GET /volumes/{id} 200',
  'DELETE /volumes/{id} 204',
  'POST /instances/{id}/volumes/{volumeId} 200',
  'DELETE /instances/{id}/volumes/{volumeId} 200',
  'GET /images 200',
  'POST /images 202',
  'GET /images/{name} 200',
  'DELETE /images/{name} 204',
])
const { call, create, createVolume, unique } = suite

// --- volumes ---------------------------------------------------------------------------------------------------

test('a volume is created, found by id and name, listed by tag, and deleted', async () => {
  const name = unique('volume')
  const { id, ...volume } = await createVolume({ name, size_gb: 2, tags: { v: name } })
  assert.match(id, HYPEMAN_ID)
  assert.equal(volume['size_gb'], 2)
  assert.match(String(volume['created_at']), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
  assert.equal('attachments' in volume, false)
  assert.equal(((await call('GET', `/volumes/${id}`)).body as VolumeBody).id, id)
  assert.equal(((await call('GET', `/volumes/${name}`)).body as VolumeBody).id, id)
  const listed = (await call('GET', `/volumes?tags[v]=${name}`)).body as VolumeBody[]
  assert.deepEqual(listed.map(found => found.id), [id])
  assert.equal((await call('DELETE', `/volumes/${name}`)).status, 204)
  refuses(await call('GET', `/volumes/${id}`), 404, 'not_found')
})

test('a volume may bring its own id, once', async () => {
  const id = unique('my.volume')
  assert.equal((await createVolume({ id })).id, id)
  refuses(await call('POST', '/volumes', { body: { name: 'x', size_gb: 1, id } }), 409, 'already_exists')
  refuses(await call('POST', '/volumes', { body: { name: 'x', size_gb: 1, id: 'a/b' } }), 400, 'invalid_request')
})

test('two volumes of one name are ambiguous by it', async () => {
  const name = unique('twin')
  await createVolume({ name })
  await createVolume({ name })
  refuses(await call('GET', `/volumes/${name}`), 409, 'ambiguous')
})

for (const size of [0, -1, 1.5, '1', 10_000_000]) {
  test(`a volume of size_gb ${JSON.stringify(size)} is refused`, async () => {
    const answer = await call('POST', '/volumes', { body: { name: 'x', size_gb: size } })
    assert.equal(answer.status, 400, answer.text)
  })
}

test('a volume is attached to a running instance and detached, and each answer is the instance', async () => {
  const { id } = await create()
  const volume = await createVolume()
  const attached = await call('POST', `/instances/${id}/volumes/${volume.id}`, { body: { mount_path: '/data/', readonly: true } })
  assert.equal(attached.status, 200, attached.text)
  assert.deepEqual((attached.body as InstanceBody)['volumes'], [{ volume_id: volume.id, mount_path: '/data', readonly: true }])
  const seen = (await call('GET', `/volumes/${volume.id}`)).body as VolumeBody
  assert.deepEqual(seen['attachments'], [{ instance_id: id, mount_path: '/data', readonly: true }])
  refuses(await call('DELETE', `/volumes/${volume.id}`), 409, 'conflict')
  refuses(await call('POST', `/instances/${id}/volumes/${volume.id}`, { body: { mount_path: '/again' } }), 409, 'conflict')
  const detached = await call('DELETE', `/instances/${id}/volumes/${volume.id}`)
  assert.equal(detached.status, 200)
  assert.equal('volumes' in (detached.body as InstanceBody), false)
  refuses(await call('DELETE', `/instances/${id}/volumes/${volume.id}`), 404, 'not_found')
  assert.equal((await call('DELETE', `/volumes/${volume.id}`)).status, 204)
})

test('a volume that one instance writes is refused to others; deleting the instance frees it', async () => {
  const volume = await createVolume()
  const mount = { volume_id: volume.id, mount_path: '/data' }
  const writer = await create({ volumes: [mount] })
  assert.deepEqual(writer['volumes'], [{ ...mount, readonly: false }])
  refuses(await call('POST', '/instances', { body: { name: unique(), image: IMAGE, size: '128MB', volumes: [{ ...mount, readonly: true }] } }), 409, 'conflict')
  assert.equal((await call('DELETE', `/instances/${writer.id}`)).status, 204)
  const reader = await create({ volumes: [{ ...mount, readonly: true, overlay: true, overlay_size: '1GB' }] })
  assert.deepEqual(reader['volumes'], [{ ...mount, readonly: true, overlay: true, overlay_size: '1024.0 MB' }])
})

test('attach and detach name what is not there', async () => {
  const { id } = await create()
  refuses(await call('POST', `/instances/${id}/volumes/nothing`, { body: { mount_path: '/data' } }), 404, 'not_found')
  refuses(await call('DELETE', `/instances/${id}/volumes/nothing`), 404, 'not_found')
  refuses(await call('POST', '/instances/nothing/volumes/nothing', { body: { mount_path: '/data' } }), 404, 'not_found')
  refuses(await call('POST', `/instances/${id}/volumes/nothing`, { body: {} }), 400, 'Bad Request')
})

/** A form as older clients send it, in the order given; a Blob is the file. */
async function postForm(parts: readonly (readonly [string, string | Blob])[]): Promise<Answer> {
  const form = new FormData()
  for (const [name, value] of parts) {
    if (typeof value === 'string') form.append(name, value)
    else form.append(name, value, `${name}.tar.gz`)
  }
  const encoded = new Response(form)
  const body = new Uint8Array(await encoded.arrayBuffer())
  return call('POST', '/volumes', { body, headers: { 'content-type': encoded.headers.get('content-type') ?? '' } })
}

test('a volume is filled from an archive, by the older form and by the newer route', async () => {
  const archive = execFileSync('tar', ['-czf', '-', '-C', '/etc', 'hostname'])
  const name = unique('form')
  const made = await postForm([['name', name], ['size_gb', '1'], ['content', new Blob([archive])]])
  assert.equal(made.status, 201, made.text)
  assert.equal((made.body as VolumeBody)['name'], name)
  const newer = await suite.server.request('POST', `/volumes/from-archive?name=${unique('archive')}&size_gb=1&tags[a]=b`, {
    body: new Uint8Array(archive),
    headers: { 'content-type': 'application/gzip' },
  })
  assert.equal(newer.status, 201, newer.text)
  assert.deepEqual((newer.body as VolumeBody)['tags'], { a: 'b' })
})

test('a form or an archive that is wrong is told what is wrong with it', async () => {
  const content = new Blob(['x'])
  refuses(await postForm([['size_gb', '1'], ['content', content]]), 400, 'missing_field', /^name/)
  refuses(await postForm([['name', 'x'], ['content', content]]), 400, 'missing_field', /^size_gb/)
  refuses(await postForm([['content', content], ['name', 'x'], ['size_gb', '1']]), 400, 'missing_field', /before content/)
  refuses(await postForm([['name', 'x'], ['size_gb', 'big'], ['content', content]]), 400, 'invalid_field')
  refuses(await postForm([['name', 'x'], ['size_gb', '1']]), 400, 'missing_file')
  refuses(await call('POST', '/volumes', { body: 'no form', headers: { 'content-type': 'multipart/form-data' } }), 400, 'invalid_form')
  refuses(await call('POST', '/volumes', { body: 'no form', headers: { 'content-type': 'multipart/form-data; boundary=x' } }), 400, 'invalid_form')
  const gzip = { headers: { 'content-type': 'application/gzip' } }
  refuses(await suite.server.request('POST', '/volumes/from-archive?size_gb=1', { body: 'x', ...gzip }), 400, 'missing_field')
  refuses(await suite.server.request('POST', '/volumes/from-archive?name=x', { body: 'x', ...gzip }), 400, 'missing_field')
  refuses(await suite.server.request('POST', '/volumes/from-archive?name=x&size_gb=big', { body: 'x', ...gzip }), 400, 'Bad Request')
  refuses(await suite.server.request('POST', '/volumes/from-archive?name=x&size_gb=1', {}), 400, 'missing_file')
})

// --- images ----------------------------------------------------------------------------------------------------

test('an image is pulled, told while it is pulled, tagged and deleted', async () => {
  const posted = await call('POST', '/images', { body: { name: 'simulated/app:1' } })
  assert.equal(posted.status, 202, posted.text)
  assert.equal((posted.body as { name: string }).name, 'docker.io/simulated/app:1')
  const ready = await eventually('the image is ready', async () => {
    const { body } = await call('GET', '/images/docker.io%2Fsimulated%2Fapp:1')
    return (body as { status: string }).status === 'ready' ? (body as Record<string, unknown>) : null
  })
  assert.match(String(ready['digest']), /^sha256:[0-9a-f]{64}$/)
  assert.equal(ready['error'], null)
  for (const spelling of ['simulated%2Fapp:1', 'simulated/app:1', 'docker.io/simulated/app%3A1', 'docker.io%252Fsimulated%252Fapp:1']) {
    assert.equal((await call('GET', `/images/${spelling}`)).status, 200, spelling)
  }
  const listed = (await call('GET', '/images')).body as { name: string; digest: string }[]
  assert.ok(listed.some(image => image.name === 'docker.io/simulated/app:1' && image.digest === ready['digest']))
  assert.deepEqual((await call('GET', '/images?tags[no]=such')).body, [])
  const tagged = await call('POST', '/images/simulated%2Fapp:1/tag', { body: { target: 'simulated/app:2' } })
  assert.equal(tagged.status, 200, tagged.text)
  assert.equal((tagged.body as { digest: string }).digest, ready['digest'])
  assert.equal((await call('DELETE', '/images/simulated%2Fapp:1')).status, 204)
  refuses(await call('GET', '/images/simulated%2Fapp:1'), 404, 'not_found')
  assert.equal((await call('GET', '/images/simulated%2Fapp:2')).status, 200)
})

for (const name of ['Alpine', 'a b', '', 'f'.repeat(64), '../etc', `x:${'t'.repeat(200)}`]) {
  test(`an image named ${JSON.stringify(name.slice(0, 20))} is refused`, async () => {
    refuses(await call('POST', '/images', { body: { name } }), 400, 'invalid_name')
  })
}

test('an image that an instance uses is kept', async () => {
  refuses(await call('DELETE', `/images/${encodeURIComponent(IMAGE)}`), 409, 'conflict')
})
