/**
 * The Hypeman surface over HTTP on a simulated host: the table of bad input. Each refusal is the right 4xx with the
 * reason, and nothing is there afterwards that was not there before.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { test } from 'node:test'
import type { ErrorBody } from './support/hypeman.ts'
import { hypemanSuite, IMAGE, refuses } from './support/hypeman.ts'
import { eventually } from './support/server.ts'
import type { RequestOptions } from './support/server.ts'

const suite = hypemanSuite([
  'POST /instances 400',
  'POST /images 400',
  'POST /volumes 400',
])
const { call, create, unique } = suite

const LONGEST = 'a'.repeat(63)
const BAD_CREATES: readonly [string, Readonly<Record<string, unknown>>, number, string, RegExp?][] = [
  ['a name of 64 characters', { name: 'a'.repeat(64) }, 400, 'Bad Request', /"\/name"/],
  ['a name with capitals', { name: 'Web' }, 400, 'Bad Request', /"\/name"/],
  ['a name that ends with a dash', { name: 'web-' }, 400, 'Bad Request'],
  ['an empty name', { name: '' }, 400, 'Bad Request'],
  ['a name with a quote', { name: 'a"\n' }, 400, 'Bad Request'],
  ['a name that is a number', { name: 7 }, 400, 'Bad Request'],
  ['an unknown image', { image: 'docker.io/library/never-pulled:1' }, 404, 'not_found'],
  ['an image name with capitals', { image: 'Alpine' }, 400, 'invalid_name'],
  ['bits for bytes', { size: '4Gb' }, 400, 'invalid_size', /^invalid size format: strconv\.UnmarshalText: parsing "4Gb"/],
  ['a negative size', { size: '-1' }, 400, 'invalid_size', /^invalid size format: .*invalid syntax$/],
  ['a binary unit', { size: '1.5GiB' }, 400, 'invalid_size', /invalid syntax$/],
  ['a word for a size', { size: 'abc' }, 400, 'invalid_size', /^invalid size format: strconv\.UnmarshalText: parsing "abc": invalid syntax$/],
  ['a size out of range', { size: '99999999999999999999' }, 400, 'invalid_size'],
  ['more memory than allowed', { size: '33GB' }, 400, 'invalid_request'],
  ['a bad hotplug size', { hotplug_size: '4Gb' }, 400, 'invalid_hotplug_size'],
  ['a bad overlay size', { overlay_size: 'big' }, 400, 'invalid_overlay_size'],
  ['more overlay than allowed', { overlay_size: '101GB' }, 400, 'invalid_request'],
  ['a bad disk rate', { disk_io_bps: 'fast' }, 400, 'invalid_disk_io_bps'],
  ['a bad download rate', { network: { bandwidth_download: 'fast' } }, 400, 'invalid_bandwidth_download'],
  ['a bad upload rate', { network: { bandwidth_upload: '-1Mbps' } }, 400, 'invalid_bandwidth_upload'],
  ['more CPUs than allowed', { vcpus: 17 }, 400, 'invalid_request'],
  ['half a CPU', { vcpus: 1.5 }, 400, 'Bad Request'],
  ['an unknown hypervisor', { hypervisor: 'kvm' }, 400, 'Bad Request'],
  ['an environment of numbers', { env: { A: 1 } }, 400, 'Bad Request'],
  ['an environment name with an equals sign', { env: { 'A=B': '1' } }, 400, 'invalid_request'],
  ['a volume that is not there', { volumes: [{ volume_id: 'nothing', mount_path: '/data' }] }, 404, 'not_found'],
  ['a relative mount', { volumes: [{ volume_id: 'nothing', mount_path: 'data' }] }, 400, 'invalid_request'],
  ['a mount over the system', { volumes: [{ volume_id: 'nothing', mount_path: '/proc' }] }, 400, 'invalid_request'],
  ['an overlay that is writable below', { volumes: [{ volume_id: 'v', mount_path: '/d', overlay: true, overlay_size: '1GB' }] }, 400, 'invalid_request'],
  ['an overlay without a size', { volumes: [{ volume_id: 'v', mount_path: '/d', overlay: true, readonly: true }] }, 400, 'invalid_request'],
  ['a bad tag', { tags: { 'a"b': 'x' } }, 400, 'invalid_request'],
  ['too many tags', { tags: Object.fromEntries(Array.from({ length: 51 }, (_, at) => [`k${at}`, 'v'])) }, 400, 'invalid_request'],
  ['a port of 0', { ports: [{ host_port: 0, guest_port: 80 }] }, 400, 'Bad Request'],
  ['the same port twice', { ports: [{ host_port: 4711, guest_port: 80 }, { host_port: 4711, guest_port: 81 }] }, 400, 'invalid_request'],
  ['a port without a network', { ports: [{ host_port: 4711, guest_port: 80 }], network: { enabled: false } }, 400, 'invalid_request'],
  ['both ttl and expires_at', { ttl: '1h', expires_at: '2999-01-01T00:00:00Z' }, 400, 'invalid_expires_at'],
  ['a negative ttl', { ttl: '-1h' }, 400, 'invalid_ttl'],
  ['a time that is no time', { expires_at: 'tomorrow' }, 400, 'invalid_expires_at'],
  ['a bad backoff', { restart_policy: { policy: 'always', backoff: 'x' } }, 400, 'invalid_restart_policy'],
  ['an unknown restart policy', { restart_policy: { policy: 'sometimes' } }, 400, 'Bad Request'],
  ['another platform', { platform: 'linux/s390x' }, 404, 'platform_not_available'],
  ['a GPU', { gpu: { profile: 'L40S-1Q' } }, 400, 'not_supported'],
  ['a device', { devices: ['gpu-1'] }, 400, 'not_supported'],
  ['a health check of no port', { health_check: { type: 'http' } }, 400, 'invalid_health_check'],
  ['a health check of port 0', { health_check: { type: 'tcp', tcp: { port: 0 } } }, 400, 'invalid_health_check'],
  ['a health check without a command', { health_check: { type: 'exec', exec: { command: [] } } }, 400, 'invalid_health_check'],
  ['an interval that is none', { health_check: { type: 'tcp', tcp: { port: 80 }, interval: '-1s' } }, 400, 'invalid_health_check'],
  ['an interval of nothing', { health_check: { type: 'tcp', tcp: { port: 80 }, interval: '1ms' } }, 400, 'invalid_health_check'],
  ['a path that is none', { health_check: { type: 'http', http: { port: 80, path: 'x y' } } }, 400, 'invalid_health_check'],
  ['a threshold below 0', { health_check: { type: 'tcp', tcp: { port: 80 }, failure_threshold: -1 } }, 400, 'invalid_health_check'],
  ['an unknown health check', { health_check: { type: 'prayer' } }, 400, 'Bad Request'],
  ['an idle time that is none', { auto_standby: { enabled: true, idle_timeout: 'x' } }, 400, 'invalid_auto_standby'],
  ['an egress proxy', { network: { egress: { enabled: true } } }, 400, 'not_supported'],
]
for (const [what, body, status, code, message] of BAD_CREATES) {
  test(`create refuses ${what}, and nothing is there afterwards`, async () => {
    const name = unique('bad')
    const count = async () => ((await call('GET', '/instances')).body as unknown[]).length
    const earlier = await count()
    refuses(await call('POST', '/instances', { body: { name, image: IMAGE, ...body } }), status, code, message)
    assert.equal(await count(), earlier)
  })
}

test('a name of 63 characters is taken', async () => {
  assert.equal((await create({ name: LONGEST })).name, LONGEST)
})

test('features that are switched off may be named', async () => {
  await create({ gpu: {}, devices: [], health_check: { type: 'none' }, auto_standby: { enabled: false }, skip_guest_agent: false, unknown_field: 1 })
})

const JSON_TYPE = { 'content-type': 'application/json' }
const BAD_BODIES: readonly [string, RequestOptions, number, string][] = [
  ['broken JSON', { body: '{"name": "x",', headers: JSON_TYPE }, 400, 'Bad Request'],
  ['JSON that is no object', { body: '[]', headers: JSON_TYPE }, 400, 'Bad Request'],
  ['no body', {}, 400, 'Bad Request'],
  ['an empty body', { body: '', headers: JSON_TYPE }, 400, 'Bad Request'],
  ['another content type', { body: '{}', headers: { 'content-type': 'text/plain' } }, 400, 'Bad Request'],
  ['invalid UTF-8', { body: Buffer.concat([Buffer.from('{"name":"'), Buffer.from([0xff, 0xfe]), Buffer.from('"}')]), headers: JSON_TYPE }, 400, 'Bad Request'],
  ['10 MB of JSON', { body: JSON.stringify({ name: 'x'.repeat(10 * 1024 * 1024) }), headers: JSON_TYPE }, 413, 'Request Entity Too Large'],
  ['JSON that is nested 1000 deep', { body: `{"env":${'['.repeat(1000)}${']'.repeat(1000)}}`, headers: JSON_TYPE }, 400, 'Bad Request'],
]
for (const [what, options, status, code] of BAD_BODIES) {
  for (const path of ['/instances', '/images', '/volumes']) {
    test(`POST ${path} refuses ${what}`, async () => {
      refuses(await call('POST', path, options), status, code)
    })
  }
}

const BAD_PATHS: readonly [string, string, number][] = [
  ['GET', '/no/such/path', 404],
  ['PUT', '/instances', 404],
  ['GET', '/instances/%ZZ', 400],
  ['GET', `/instances/${'a'.repeat(5000)}`, 400],
  ['GET', '/instances/%00', 404],
  ['GET', '/instances/..%2f..%2fetc', 404],
  ['GET', '/images/', 400],
  ['GET', '/images/Alpine', 400],
  ['GET', '/images/never-pulled', 404],
  ['GET', '/volumes/nothing', 404],
  ['DELETE', '/volumes/nothing', 404],
  ['GET', '/devices/nothing', 404],
]
for (const [method, path, status] of BAD_PATHS) {
  test(`${method} ${path.slice(0, 40)} is a ${status} in the dialect’s own shape`, async () => {
    const answer = await suite.server.request(method, path)
    assert.equal(answer.status, status, answer.text)
    assert.deepEqual(Object.keys(answer.body as object).toSorted(), ['code', 'message'])
  })
}

const ABSENT = ['/ingresses', '/builds', '/builders', '/pushes', '/instances/x/snapshot-schedule']
for (const path of ABSENT) {
  test(`${path} says that it is not supported`, async () => {
    const answer = await suite.server.request('GET', path)
    assert.equal(answer.status, 501)
    assert.equal((answer.body as ErrorBody).code, 'not_supported')
    assert.equal(answer.headers.get('x-should-retry'), 'false')
  })
}

const CUT_OFF: readonly [string, string][] = [
  ['/instances', 'application/json'],
  ['/volumes/from-archive?name=cut-off&size_gb=1', 'application/gzip'],
  ['/volumes', 'multipart/form-data; boundary=b'],
]
for (const [path, type] of CUT_OFF) {
  test(`a client that leaves in the middle of its body to ${path} is no error of ours, and leaves nothing`, async () => {
    const { hostname, port } = new URL(suite.server.url)
    const socket = connect(Number(port), hostname)
    await once(socket, 'connect')
    const head = [
      `POST ${path} HTTP/1.1`,
      `Host: ${hostname}`,
      `Authorization: Bearer ${suite.server.key}`,
      `Content-Type: ${type}`,
      'Content-Length: 1000',
    ]
    const form = '--b\r\nContent-Disposition: form-data; name="name"\r\n\r\ncut-off\r\n'
    socket.write(`${head.join('\r\n')}\r\n\r\n${type.startsWith('multipart') ? form : '{"name":'}`)
    await new Promise(resolve => setTimeout(resolve, 100))
    socket.destroy()
    await once(socket, 'close')
    // Our end of the socket is closed before the server has heard of it.
    await eventually('nothing is left', async () => (((await call('GET', '/volumes')).body as unknown[]).length === 0 ? true : null))
    assert.doesNotMatch(suite.server.output(), /error of Berth/)
  })
}
