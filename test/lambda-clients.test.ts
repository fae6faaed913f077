/**
 * Clients of Lambda's API that are not ours, unmodified: one generated from the vendor's schema, and the Python client
 * of the public package index. What is not to be had is skipped with the reason.
 *
 * The Python SDK whose document Berth was planned from (`lambda_cloud_sdk`) is on no package index.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { runGenerated, whyNoGenerator } from './support/generated-client.ts'
import { LAMBDA_CONTRACT_FILE } from './support/lambda.ts'
import { pythonWith } from './support/python-client.ts'
import { run } from './support/ssh.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

const CLIENT = { name: 'lambda-clients', requirement: 'lambda-cloud-api-client==0.1.145', module: 'lambda_cloud_api_client' } as const

/** Every call is checked against the types that the schema gives, then made. */
const GENERATED = `
import createClient from 'openapi-fetch'
import type { paths } from './schema.d.ts'

const client = createClient<paths>({ baseUrl: process.env['LAMBDA_URL'] ?? '', headers: { Authorization: 'Bearer ' + (process.env['LAMBDA_KEY'] ?? '') } })
const key = await client.POST('/api/v1/ssh-keys', { body: { name: 'generated' } })
const types = await client.GET('/api/v1/instance-types')
const launched = await client.POST('/api/v1/instance-operations/launch', { body: {
  region_name: 'us-west-1', instance_type_name: 'cpu_1x_general', ssh_key_names: ['generated'], name: 'generated', hostname: 'generated',
  user_data: '#cloud-config\\nruncmd: [true]\\n', tags: [{ key: 'made-by', value: 'types' }],
} })
const id = launched.data?.data.instance_ids[0] ?? ''
let instance = await client.GET('/api/v1/instances/{id}', { params: { path: { id } } })
while (instance.data?.data.status === 'booting') {
  await new Promise(resolve => setTimeout(resolve, 50))
  instance = await client.GET('/api/v1/instances/{id}', { params: { path: { id } } })
}
const renamed = await client.POST('/api/v1/instances/{id}', { params: { path: { id } }, body: { name: 'renamed' } })
const listed = await client.GET('/api/v1/instances')
const wrong = await client.POST('/api/v1/instance-operations/launch', { body: { region_name: 'us-west-1', instance_type_name: 'no-such', ssh_key_names: ['generated'] } })
const ended = await client.POST('/api/v1/instance-operations/terminate', { body: { instance_ids: [id] } })
const missing = await client.GET('/api/v1/instances/{id}', { params: { path: { id: '0'.repeat(32) } } })
console.log(JSON.stringify({
  pem: key.data?.data && 'private_key' in key.data.data ? key.data.data.private_key.split('\\n')[0] : null,
  cents: types.data?.data['cpu_1x_general']?.instance_type.price_cents_per_hour,
  status: instance.data?.data.status,
  hostname: instance.data?.data.hostname,
  tags: instance.data?.data.tags,
  name: renamed.data?.data.name,
  count: listed.data?.data.length,
  wrong: wrong.error && 'error' in wrong.error ? wrong.error.error.code : null,
  ended: ended.data?.data.terminated_instances[0]?.status,
  missing: missing.error && 'error' in missing.error ? missing.error.error.code : null,
}))
`

const PYTHON_PROGRAM = `
import json, os, time
from lambda_cloud_api_client import AuthenticatedClient
from lambda_cloud_api_client.api.default import add_ssh_key, delete_ssh_key, get_instance, instance_types, launch_instance, list_file_systems, list_instances, list_ssh_keys, restart_instance, terminate_instance
from lambda_cloud_api_client.models import AddSSHKeyBody, FileSystem, Instance, InstanceType, LaunchInstanceBody, RestartInstanceBody, SshKey, TerminateInstanceBody

client = AuthenticatedClient(base_url=os.environ['LAMBDA_URL'] + '/api/v1', token=os.environ['LAMBDA_KEY'])
def data(response, status=200):
    assert response.status_code == status, (response.status_code, response.content)
    return json.loads(response.content)['data' if status == 200 else 'error']

key = SshKey.from_dict(data(add_ssh_key.sync_detailed(client=client, body=AddSSHKeyBody(name='python'))))
types = [InstanceType.from_dict(entry['instance_type']) for entry in data(instance_types.sync_detailed(client=client)).values()]
body = LaunchInstanceBody(region_name='us-west-1', instance_type_name='cpu_1x_general', ssh_key_names=['python'], name='from python')
[id] = data(launch_instance.sync_detailed(client=client, body=body))['instance_ids']
def active():
    while True:
        instance = Instance.from_dict(data(get_instance.sync_detailed(id, client=client)))
        if instance.status.value != 'booting':
            return instance
        time.sleep(0.05)
instance = active()
restarted = [Instance.from_dict(one).id for one in data(restart_instance.sync_detailed(client=client, body=RestartInstanceBody(instance_ids=[id])))['restarted_instances']]
again = active()
listed = [Instance.from_dict(one) for one in data(list_instances.sync_detailed(client=client))]
[FileSystem.from_dict(one) for one in data(list_file_systems.sync_detailed(client=client))]
keys = [SshKey.from_dict(one).name for one in data(list_ssh_keys.sync_detailed(client=client))]
ended = [Instance.from_dict(one).id for one in data(terminate_instance.sync_detailed(client=client, body=TerminateInstanceBody(instance_ids=[id])))['terminated_instances']]
data(delete_ssh_key.sync_detailed(key.id, client=client))
print(json.dumps({
    'private': key.private_key.split('\\n')[0], 'cents': [kind.price_cents_per_hour for kind in types if kind.name == 'cpu_1x_general'],
    'status': [instance.status.value, again.status.value], 'ip': instance.ip == again.ip, 'region': instance.region.name,
    'restarted': restarted == [id], 'listed': id in [one.id for one in listed], 'python': 'python' in keys, 'ended': ended == [id],
    'missing': data(get_instance.sync_detailed('0' * 32, client=client), 404)['code'],
}))
`

let server: TestServer
let scratch = ''

before(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'lc-'))
  server = await startServer({ host: 'simulated' })
  await eventually('the image is ready', async () => {
    const { body } = await server.request('POST', '/images', { body: { name: 'localhost/busybox' } })
    return (body as { status: string }).status === 'ready' ? true : null
  })
})
after(async () => {
  try {
    await server.stop()
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
})

const env = () => ({ LAMBDA_URL: server.url, LAMBDA_KEY: server.key })

test('a client generated from the schema does what its types promise', async t => {
  const reason = whyNoGenerator(LAMBDA_CONTRACT_FILE)
  if (reason !== null) return t.skip(reason)
  const told = (await runGenerated({ contract: LAMBDA_CONTRACT_FILE, dir: join(scratch, 'client'), source: GENERATED, env: env() })) as { readonly cents: number }
  assert.deepEqual(told, {
    pem: '-----BEGIN RSA PRIVATE KEY-----',
    cents: told.cents,
    status: 'active',
    hostname: 'generated',
    tags: [{ key: 'made-by', value: 'types' }],
    name: 'renamed',
    count: 1,
    wrong: 'global/object-does-not-exist',
    ended: 'terminating',
    missing: 'global/object-does-not-exist',
  })
  assert.ok(Number.isInteger(told.cents))
})

test('the Python client of the package index reads every answer', async t => {
  const found = pythonWith(CLIENT)
  if ('reason' in found) return t.skip(found.reason)
  const ended = await run(found.python, ['-c', PYTHON_PROGRAM], { env: env() })
  assert.equal(ended.code, 0, ended.stderr)
  const told = JSON.parse(ended.stdout) as { readonly cents: readonly number[] }
  assert.deepEqual(told, {
    private: '-----BEGIN RSA PRIVATE KEY-----',
    cents: told.cents,
    status: ['active', 'active'],
    ip: true,
    region: 'us-west-1',
    restarted: true,
    listed: true,
    python: true,
    ended: true,
    missing: 'global/object-does-not-exist',
  })
  assert.equal(told.cents.length, 1)
})
