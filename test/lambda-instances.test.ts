/**
 * Lambda Cloud's Instances API on a simulated host: launch to gone, every form of authentication and of body that its
 * clients send, batches, keys, types, and the table of bad input. Every answer goes past the published contract where
 * that document is at hand; the public npm client runs unmodified.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { LambdaCloudAPI } from 'lambda-cloud-node-api'
import { dataOf, errorOf, HEX_ID, judgedLambdaCalls, LAMBDA_CONTRACT_FILE, loadLambdaContract } from './support/lambda.ts'
import type { TestServer } from './support/server.ts'
import { eventually, send, startServer } from './support/server.ts'

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEzzAnTxl6twSZjHUyzd3YYcldFMZbBEfJXSdMANO4P8 me@home'
const NOBODY = '0920582c7ff041399e34823a0be62549'
const LAUNCH = { region_name: 'us-west-1', instance_type_name: 'cpu_1x_general', ssh_key_names: ['mine'] }
const USER_DATA_LIMIT_BYTES = 1024 * 1024
const ACTIONS = ['cold_reboot', 'migrate', 'rebuild', 'restart', 'terminate']

interface Instance {
  readonly id: string
  readonly name?: string
  readonly status: string
  readonly ip?: string
  readonly private_ip?: string
  readonly ssh_key_names: readonly string[]
  readonly region: { readonly name: string }
  readonly instance_type: { readonly name: string; readonly price_cents_per_hour: number }
  readonly actions: Readonly<Record<string, { readonly available: boolean; readonly reason_code?: string }>>
  readonly tags?: readonly { readonly key: string; readonly value: string }[]
}

const contract = loadLambdaContract()
let server: TestServer
const call = judgedLambdaCalls(() => server, contract)

before(async () => {
  server = await startServer()
  dataOf(await call('POST', '/ssh-keys', { body: { name: 'mine', public_key: KEY } }))
})
after(() => server.stop())

async function launch(change: object = {}): Promise<string> {
  const { instance_ids: ids } = dataOf<{ instance_ids: readonly string[] }>(
    await call('POST', '/instance-operations/launch', { body: { ...LAUNCH, ...change } }),
  )
  assert.equal(ids.length, 1)
  assert.match(ids[0] ?? '', HEX_ID)
  return ids[0] ?? ''
}

async function get(id: string): Promise<Instance> {
  return dataOf<Instance>(await call('GET', `/instances/${id}`))
}

async function active(id: string): Promise<Instance> {
  return eventually(`${id} is active`, async () => {
    const instance = await get(id)
    assert.ok(['booting', 'active'].includes(instance.status), instance.status)
    return instance.status === 'active' ? instance : null
  })
}

async function launchActive(change: object = {}): Promise<Instance> {
  return active(await launch(change))
}

async function terminate(...ids: readonly string[]): Promise<readonly Instance[]> {
  const answer = await call('POST', '/instance-operations/terminate', { body: { instance_ids: ids } })
  return dataOf<{ terminated_instances: readonly Instance[] }>(answer).terminated_instances
}

async function list(): Promise<readonly Instance[]> {
  return dataOf<readonly Instance[]>(await call('GET', '/instances'))
}

test('the published contract is at hand', { skip: contract === null ? 'lambda.openapi.json is not beside the checkout' : false }, () => {
  assert.ok(contract, LAMBDA_CONTRACT_FILE)
})

describe('authentication', () => {
  const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`

  test('Bearer, Basic with the key as user, and Basic with the bare key are the same', async () => {
    for (const authorization of [`Bearer ${server.key}`, `bearer ${server.key}`, basic(`${server.key}:`), `Basic ${server.key}`, `BASIC ${server.key}`]) {
      const answer = await call('GET', '/instances', { key: null, headers: { authorization } })
      assert.equal(answer.status, 200, authorization.split(' ')[0])
    }
  })

  test('everything else is 401 with a suggestion', async () => {
    const wrong = [null, 'Bearer bad', 'Bearer', basic('bad:'), basic(`${server.key}:password`), basic(':'), 'Basic %%%', `Token ${server.key}`, server.key]
    for (const authorization of wrong) {
      const answer = await call('GET', '/instances', { key: null, headers: authorization === null ? {} : { authorization } })
      assert.equal(answer.status, 401, String(authorization))
      assert.equal(errorOf(answer).code, 'global/invalid-api-key')
      assert.ok(errorOf(answer).suggestion)
    }
  })
})

describe('an instance', () => {
  test('boots, becomes active with its key, and is gone after terminate', async () => {
    const id = await launch({ name: 'My Instance', tags: [{ key: 'key1', value: 'value1' }] })
    const first = await get(id)
    assert.equal(first.name, 'My Instance')
    assert.deepEqual(first.ssh_key_names, ['mine'])
    assert.equal(first.region.name, 'us-west-1')
    assert.deepEqual([first.instance_type.name, first.instance_type.price_cents_per_hour], ['cpu_1x_general', 1])
    assert.deepEqual(first.tags, [{ key: 'key1', value: 'value1' }])
    assert.deepEqual(Object.keys(first.actions).toSorted(), ACTIONS)
    if (first.status === 'booting') assert.ok(Object.values(first.actions).every(action => !action.available && action.reason_code === 'vm-has-not-launched'))

    const running = await active(id)
    assert.match(running.ip ?? '', /^\d+\.\d+\.\d+\.\d+$/)
    assert.equal(running.private_ip, running.ip)
    assert.ok(Object.values(running.actions).every(action => action.available && action.reason_code === undefined))
    assert.ok((await list()).some(instance => instance.id === id))

    const [gone] = await terminate(id)
    assert.equal(gone?.status, 'terminating')
    assert.ok(Object.values(gone?.actions ?? {}).every(action => action.reason_code === 'vm-is-terminating'))
    await eventually('it has left the list', async () => ((await list()).every(instance => instance.id !== id) ? true : null))
    assert.equal((await get(id)).status, 'terminated')
    assert.equal((await call('POST', '/instance-operations/terminate', { body: { instance_ids: [id] } })).status, 404)
    assert.equal((await call('POST', '/instance-operations/restart', { body: { instance_ids: [id] } })).status, 404)
  })

  test('has the key in authorized_keys by the time it is active', async () => {
    const { id } = await launchActive()
    const uuid = `${id.slice(0, 8)}-${id.slice(8, 12)}-${id.slice(12, 16)}-${id.slice(16, 20)}-${id.slice(20)}`
    const file = await server.request('GET', `/berth/v1/instances/${uuid}/files?path=${encodeURIComponent('/root/.ssh/authorized_keys')}`)
    assert.equal(file.status, 200, file.text)
    assert.ok(file.text.includes(KEY), file.text)
    await terminate(id)
  })

  test('is seen through other dialects, and theirs are seen here', async () => {
    const { id } = await launchActive({ name: 'Seen by All' })
    const uuid = `${id.slice(0, 8)}-${id.slice(8, 12)}-${id.slice(12, 16)}-${id.slice(16, 20)}-${id.slice(20)}`
    assert.equal((await server.request('GET', `/v1/instances/${uuid}`)).status, 200)
    const native = (await server.request('GET', `/berth/v1/instances/${uuid}`)).body as { name: string; image: string }
    assert.match(native.name, /^seen-by-all-[0-9a-f]{8}$/)

    const made = await server.request('POST', '/berth/v1/instances', {
      body: { name: 'from-elsewhere', image: native.image, vcpus: 1, tags: { 'Not A Lambda Key': 'x', 'fits-here': 'y' } },
    })
    assert.ok(made.status < 300, made.text)
    const other = (await list()).find(instance => instance.name === 'from-elsewhere')
    assert.match(other?.id ?? '', HEX_ID)
    assert.equal(other?.id, (made.body as { id: string }).id.replaceAll('-', ''))
    assert.deepEqual(other?.tags, [{ key: 'fits-here', value: 'y' }])
    assert.deepEqual(other?.ssh_key_names, [])
    const renamed = dataOf<Instance>(await call('POST', `/instances/${other?.id}`, { body: { name: 'Named Here' } }))
    assert.equal(renamed.name, 'Named Here')
    await terminate(id, other?.id ?? '')
  })

  test('is renamed, keeps its name, and may have the name of another', async () => {
    const [one, two] = [await launch({ name: 'twin' }), await launch({ name: 'twin' })]
    for (const [body, name] of [
      [{ name: 'n'.repeat(64) }, 'n'.repeat(64)],
      [{}, 'n'.repeat(64)],
      [{ name: null }, 'n'.repeat(64)],
      [undefined, 'n'.repeat(64)],
      [{ name: 'Zwölf 🦊' }, 'Zwölf 🦊'],
      [{ name: '' }, undefined],
    ] as const) {
      const changed = dataOf<Instance>(await call('POST', `/instances/${one}`, body === undefined ? {} : { body }))
      assert.equal(changed.name, name)
      assert.equal((await get(one)).name, name)
    }
    assert.equal((await get(two)).name, 'twin')
    await terminate(one, two)
  })

  test('restarts under the same id; whoever comes too early is told of a conflict', async () => {
    const { id } = await launchActive()
    const answers = await Promise.all(Array.from({ length: 4 }, () => call('POST', '/instance-operations/restart', { body: { instance_ids: [id] } })))
    // How many are too early is a matter of how fast the machine is; the first one is not.
    const good = answers.filter(answer => answer.status === 200)
    assert.ok(good.length > 0)
    for (const answer of good) {
      const { restarted_instances: restarted } = dataOf<{ restarted_instances: readonly Instance[] }>(answer)
      assert.deepEqual(restarted.map(instance => instance.id), [id])
    }
    for (const answer of answers.filter(one => !good.includes(one))) assert.deepEqual([answer.status, errorOf(answer).code], [409, 'global/conflict'])
    await active(id)
    await terminate(id)
  })
})

describe('batches', () => {
  test('touch nothing if one id is not there', async () => {
    const { id } = await launchActive()
    for (const operation of ['restart', 'terminate']) {
      for (const unknown of [NOBODY, 'not-an-id']) {
        const answer = await call('POST', `/instance-operations/${operation}`, { body: { instance_ids: [id, unknown] } })
        assert.deepEqual([answer.status, errorOf(answer).code, errorOf(answer).message], [404, 'global/object-does-not-exist', 'Specified instance does not exist.'])
      }
    }
    assert.equal((await get(id)).status, 'active')
    await terminate(id, id)
  })

  test('take many at once', async () => {
    const ids = [(await launchActive()).id, (await launchActive()).id]
    assert.deepEqual((await terminate(...ids)).map(instance => instance.id), ids)
  })
})

describe('what clients send', () => {
  test('any content type, or none, is JSON', async () => {
    for (const type of ['text/plain;charset=UTF-8', 'application/x-www-form-urlencoded', 'application/json', 'nonsense']) {
      const answer = await call('POST', '/instance-operations/launch', { body: JSON.stringify(LAUNCH), headers: { 'content-type': type } })
      await terminate(...dataOf<{ instance_ids: readonly string[] }>(answer).instance_ids)
    }
    const bare = await call('POST', '/instance-operations/launch', { body: new TextEncoder().encode(JSON.stringify(LAUNCH)) })
    await terminate(...dataOf<{ instance_ids: readonly string[] }>(bare).instance_ids)
  })

  test('nulls, empty lists, hidden and unknown members pass', async () => {
    await terminate(await launch({ quantity: 1, name: null, file_system_names: [], image: null, user_data: null, tags: null, hostname: null, x: { y: 1 } }))
  })

  test('an image by family or id is one of the list', async () => {
    const images = dataOf<readonly { id: string; family: string; architecture: string }[]>(await call('GET', '/images'))
    const busybox = images.find(image => image.family === 'busybox')
    assert.ok(busybox, JSON.stringify(images))
    await terminate(await launch({ image: { family: busybox.family } }), await launch({ image: { id: busybox.id } }), await launch({ image: { id: busybox.id.replaceAll('-', '') } }))
  })

  test('user data up to a mebibyte is taken and never shown', async () => {
    const script = '#!/bin/sh\n# secret-of-mine\n'
    const id = await launch({ user_data: script + '#'.repeat(USER_DATA_LIMIT_BYTES - script.length) })
    for (const path of ['/instances', `/instances/${id}`]) assert.ok(!(await call('GET', path)).text.includes('secret-of-mine'))
    const over = await call('POST', '/instance-operations/launch', { body: { ...LAUNCH, user_data: script + '#'.repeat(USER_DATA_LIMIT_BYTES - script.length + 1) } })
    assert.deepEqual([over.status, errorOf(over).code], [400, 'global/invalid-parameters'])
    await terminate(id)
  })
})

describe('ssh keys', () => {
  test('one that is uploaded has no private part; one that is made shows it once', async () => {
    const made = dataOf<Record<string, string>>(await call('POST', '/ssh-keys', { body: { name: 'made here' } }))
    assert.match(made['private_key'] ?? '', /^-----BEGIN RSA PRIVATE KEY-----/)
    assert.match(made['public_key'] ?? '', /^ssh-rsa /)
    const uploaded = dataOf<Record<string, string>>(await call('POST', '/ssh-keys', { body: { name: 'another', public_key: KEY }, headers: { 'content-type': 'application/x-www-form-urlencoded' } }))
    assert.deepEqual(Object.keys(uploaded).toSorted(), ['id', 'name', 'public_key'])
    const all = dataOf<readonly Record<string, string>[]>(await call('GET', '/ssh-keys'))
    assert.deepEqual(all.map(key => key['name']), ['mine', 'made here', 'another'])
    assert.ok(all.every(key => key['private_key'] === undefined && HEX_ID.test(key['id'] ?? '')))
    for (const { id } of [made, uploaded]) assert.deepEqual(dataOf(await call('DELETE', `/ssh-keys/${id}`)), {})
    assert.equal((await call('DELETE', `/ssh-keys/${made['id']}`)).status, 404)
  })

  test('a name is unique, and the words are those that a client looks for', async () => {
    const answer = await call('POST', '/ssh-keys', { body: { name: 'mine', public_key: KEY } })
    assert.deepEqual([answer.status, errorOf(answer).code], [400, 'global/invalid-parameters'])
    assert.match(errorOf(answer).message, /name must be unique/)
  })
})

describe('types and regions', () => {
  test('types are keyed by name, in whole cents; what has GPUs has room only where it is simulated', async () => {
    const types = dataOf<Record<string, { instance_type: { name: string; price_cents_per_hour: number; specs: { gpus: number } }; regions_with_capacity_available: { name: string }[] }>>(
      await call('GET', '/instance-types'),
    )
    for (const [name, item] of Object.entries(types)) {
      assert.equal(item.instance_type.name, name)
      assert.ok(Number.isInteger(item.instance_type.price_cents_per_hour), name)
      if (item.instance_type.specs.gpus > 0) assert.deepEqual(item.regions_with_capacity_available.map(region => region.name), ['us-east-1'], name)
    }
    assert.deepEqual(types['cpu_1x_general']?.regions_with_capacity_available.map(region => region.name), ['us-west-1', 'us-east-1'])
    assert.ok(types['gpu_8x_h100_sxm5'])
  })

  test('room that is taken is not offered', async () => {
    // A machine that may promise eight virtual CPUs.
    await using small = await startServer({ env: { BERTH_OVERCOMMIT_CPU: '0.002' } })
    const call = judgedLambdaCalls(() => small, contract)
    dataOf(await call('POST', '/ssh-keys', { body: { name: 'mine', public_key: KEY } }))
    const size = async () => {
      const types = dataOf<Record<string, { regions_with_capacity_available: readonly { name: string }[] }>>(await call('GET', '/instance-types'))
      return types['cpu_4x_general']?.regions_with_capacity_available.filter(region => region.name === 'us-west-1').length ?? -1
    }
    assert.equal(await size(), 1)
    const ids: string[] = []
    for (;;) {
      const answer = await call('POST', '/instance-operations/launch', { body: { ...LAUNCH, instance_type_name: 'cpu_4x_general' } })
      if (answer.status !== 200) {
        assert.deepEqual([answer.status, errorOf(answer).code], [400, 'instance-operations/launch/insufficient-capacity'])
        assert.match(errorOf(answer).message, /Not enough capacity/)
        break
      }
      ids.push(...dataOf<{ instance_ids: readonly string[] }>(answer).instance_ids)
      assert.ok(ids.length <= 2, 'the machine ends somewhere')
    }
    assert.equal(await size(), 0)
    dataOf(await call('POST', '/instance-operations/terminate', { body: { instance_ids: ids } }))
    await eventually('there is room again', async () => ((await size()) === 1 ? true : null))
  })

  test('regions have codes that clients know', async () => {
    const regions = dataOf<readonly { name: string; description: string }[]>(await call('GET', '/regions'))
    assert.deepEqual(regions.map(region => region.name), ['us-west-1', 'us-east-1'])
  })
})

describe('bad input', () => {
  const bad: readonly (readonly [name: string, change: unknown, status: number, code: string])[] = [
    ['no region', { region_name: undefined }, 400, 'global/invalid-parameters'],
    ['an unknown region', { region_name: 'mars-1' }, 400, 'global/invalid-parameters'],
    ['a type with GPUs', { instance_type_name: 'gpu_1x_a10' }, 400, 'instance-operations/launch/insufficient-capacity'],
    ['an unknown type', { instance_type_name: 'huge' }, 404, 'global/object-does-not-exist'],
    ['a type that is a number', { instance_type_name: 7 }, 400, 'global/invalid-parameters'],
    ['no key', { ssh_key_names: [] }, 400, 'global/invalid-parameters'],
    ['two keys', { ssh_key_names: ['mine', 'mine'] }, 400, 'global/invalid-parameters'],
    ['a bare key', { ssh_key_names: 'mine' }, 400, 'global/invalid-parameters'],
    ['an unknown key', { ssh_key_names: ['nobodys'] }, 404, 'global/object-does-not-exist'],
    ['two of them', { quantity: 2 }, 400, 'global/invalid-parameters'],
    ['minus one', { quantity: -1 }, 400, 'global/invalid-parameters'],
    ['a long name', { name: 'n'.repeat(65) }, 400, 'global/invalid-parameters'],
    ['a name with a zero', { name: 'a\0b' }, 400, 'global/invalid-parameters'],
    ['a bad hostname', { hostname: 'UPPER' }, 400, 'global/invalid-parameters'],
    ['an image of neither form', { image: {} }, 400, 'global/invalid-parameters'],
    ['an image of both forms', { image: { id: NOBODY, family: 'x' } }, 400, 'global/invalid-parameters'],
    ['an unknown image', { image: { id: NOBODY } }, 404, 'global/object-does-not-exist'],
    ['an unknown family', { image: { family: 'lambda-stack-22-04' } }, 404, 'global/object-does-not-exist'],
    ['user data of no kind that there is', { user_data: 'echo hello' }, 400, 'global/invalid-parameters'],
    ['cloud-config that is no YAML', { user_data: '#cloud-config\nruncmd: [' }, 400, 'global/invalid-parameters'],
    ['cloud-config with a file that is nowhere', { user_data: '#cloud-config\nwrite_files: [{path: etc/x}]' }, 400, 'global/invalid-parameters'],
    ['user data that is no text', { user_data: 7 }, 400, 'global/invalid-parameters'],
    ['a file system', { file_system_names: ['shared'] }, 404, 'global/object-does-not-exist'],
    ['a mount point elsewhere', { file_system_mounts: [{ mount_point: '/etc', file_system_id: NOBODY }] }, 400, 'global/invalid-parameters'],
    ['a mount', { file_system_mounts: [{ mount_point: '/data/x', file_system_id: NOBODY }] }, 404, 'global/object-does-not-exist'],
    ['a ruleset', { firewall_rulesets: [{ id: NOBODY }] }, 404, 'global/object-does-not-exist'],
    ...['A', '1a', 'a', 'a'.repeat(56), 'a_b'].map(key => [`tag ${key}`, { tags: [{ key, value: 'v' }] }, 400, 'global/invalid-parameters'] as const),
    ['a long tag value', { tags: [{ key: 'ab', value: 'v'.repeat(129) }] }, 400, 'global/invalid-parameters'],
    ['a tag twice', { tags: [{ key: 'ab', value: '1' }, { key: 'ab', value: '2' }] }, 400, 'global/invalid-parameters'],
    ['a tag that is no object', { tags: ['ab'] }, 400, 'global/invalid-parameters'],
  ]

  test('a launch that can’t be is refused in the dialect’s own words, and makes nothing', async () => {
    const before = (await list()).length
    for (const [name, change, status, code] of bad) {
      const answer = await call('POST', '/instance-operations/launch', { body: { ...LAUNCH, ...(change as object) } })
      assert.deepEqual([answer.status, errorOf(answer).code], [status, code], `${name}: ${answer.text}`)
      if (status === 404) assert.ok(errorOf(answer).suggestion, name)
    }
    assert.equal((await list()).length, before)
  })

  test('the words that clients look for are there', async () => {
    const answer = await call('POST', '/instance-operations/launch', { body: { ...LAUNCH, region_name: 'mars-1' } })
    assert.equal(errorOf(answer).message, 'Region mars-1 does not exist')
  })

  test('bodies that are no object, and no JSON', async () => {
    for (const body of ['{', '[]', '"text"', '7', 'region_name=us-west-1', '{"a":1}{', new Uint8Array([0x7b, 0xff, 0x7d]), '['.repeat(100_000), '']) {
      for (const path of ['/instance-operations/launch', '/instance-operations/restart', '/instance-operations/terminate', '/ssh-keys', '/filesystems']) {
        const answer = await call('POST', path, { body })
        assert.deepEqual([answer.status, errorOf(answer).code], [400, 'global/invalid-parameters'], `${path} ${String(body).slice(0, 20)}`)
      }
    }
  })

  test('ids: none, one that is no list, ones that are no text', async () => {
    for (const ids of [undefined, [], NOBODY, [7], {}, Array.from({ length: 1001 }, () => NOBODY)]) {
      const answer = await call('POST', '/instance-operations/terminate', { body: { instance_ids: ids } })
      assert.equal(answer.status, 400, JSON.stringify(ids)?.slice(0, 60))
    }
  })

  test('keys that are none', async () => {
    for (const body of [{}, { name: '' }, { name: 'n'.repeat(65), public_key: KEY }, { name: 7 }, { name: 'x', public_key: 'ssh-rsa AAAA' }, { name: 'x', public_key: '' }]) {
      const answer = await call('POST', '/ssh-keys', { body })
      assert.deepEqual([answer.status, errorOf(answer).code], [400, 'global/invalid-parameters'], JSON.stringify(body).slice(0, 80))
    }
    assert.equal((await call('DELETE', '/ssh-keys/nothing')).status, 404)
  })

  test('unknown paths, methods and instances', async () => {
    for (const [method, path, code] of [
      ['GET', '/nope', 'global/not-found'],
      ['GET', '/', 'global/not-found'],
      ['PATCH', `/instances/${NOBODY}`, 'global/not-found'],
      ['GET', `/instances/${NOBODY}`, 'global/object-does-not-exist'],
      ['GET', '/instances/%00', 'global/object-does-not-exist'],
      ['POST', `/instances/${NOBODY.toUpperCase()}`, 'global/object-does-not-exist'],
    ] as const) {
      const answer = await call(method, path, method === 'GET' ? {} : { body: { name: 'x' } })
      assert.deepEqual([answer.status, errorOf(answer).code], [404, code], `${method} ${path}`)
    }
  })

  test('another project sees and touches nothing', async () => {
    const { id } = await launchActive()
    const project = (await server.request('POST', '/berth/v1/projects', { body: { name: 'strangers' } })).body as { id: string }
    const made = await server.request('POST', '/berth/v1/keys', { body: { name: 'stranger', scopes: ['read', 'write', 'exec'], projectId: project.id } })
    const { secret: key } = made.body as { secret: string }
    assert.ok(key, made.text)
    assert.deepEqual(dataOf(await call('GET', '/instances', { key })), [])
    assert.deepEqual(dataOf(await call('GET', '/ssh-keys', { key })), [])
    assert.equal((await call('GET', `/instances/${id}`, { key })).status, 404)
    for (const operation of ['restart', 'terminate']) {
      assert.equal((await call('POST', `/instance-operations/${operation}`, { key, body: { instance_ids: [id] } })).status, 404)
    }
    assert.equal((await call('POST', '/instance-operations/launch', { key, body: LAUNCH })).status, 404, 'the key is another project’s')
    assert.equal((await get(id)).status, 'active')
    await terminate(id)
  })

  test('a key without the scope is told so', async () => {
    const made = await server.request('POST', '/berth/v1/keys', { body: { name: 'reader', scopes: ['read'] } })
    const { secret: key } = made.body as { secret: string }
    const answer = await call('POST', '/instance-operations/launch', { key, body: LAUNCH })
    assert.deepEqual([answer.status, errorOf(answer).code], [403, 'global/forbidden'])
  })
})

test('the npm client lambda-cloud-node-api works unmodified', async () => {
  const client = new LambdaCloudAPI({ apiKey: server.key, basePath: `${server.url}/api/v1` })
  assert.ok((await client.listInstanceTypes())['cpu_1x_general'])
  const key = await client.addSSHKey({ name: 'from-npm' })
  const launched = await client.launchInstance({ ...LAUNCH, ssh_key_names: ['from-npm'], name: null })
  const [id = ''] = launched.instance_ids
  await active(id)
  assert.equal((await client.getRunningInstance(id)).status, 'active')
  assert.ok((await client.listRunningInstances()).some(instance => instance.id === id))
  assert.deepEqual((await client.restartInstances([id])).restarted_instances.map(instance => instance.id), [id])
  await active(id)
  // It sends the one id as a bare text, as its types allow.
  await assert.rejects(client.terminateInstances(id), (error: { error: { code: string } }) => error.error.code === 'global/invalid-parameters')
  assert.equal((await client.terminateInstances([id])).terminated_instances[0]?.status, 'terminating')
  await client.deleteSSHKey(key.id)
  const stranger = new LambdaCloudAPI({ apiKey: 'bad', basePath: `${server.url}/api/v1` })
  await assert.rejects(stranger.listRunningInstances(), (error: { error: { code: string } }) => error.error.code === 'global/invalid-api-key')
})

test('nothing without a key tells more than that a key is needed', async () => {
  const answer = await send(server.url, 'GET', '/api/v1/nope', { key: null })
  assert.equal(answer.status, 401)
})
