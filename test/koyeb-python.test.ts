/** The vendor's own Python SDK, unmodified, from the public package index: it checks every answer against its models. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { KOYEB_SDK, pythonWith } from './support/python-client.ts'
import { run } from './support/ssh.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

const PROGRAM = `
import base64, datetime, json, os, time
from koyeb import api

client = api.ApiClient(api.Configuration(host=os.environ['KOYEB_URL'], api_key={'Bearer': os.environ['KOYEB_TOKEN']}, api_key_prefix={'Bearer': 'Bearer'}))
apps, services, instances, deployments, catalog = api.AppsApi(client), api.ServicesApi(client), api.InstancesApi(client), api.DeploymentsApi(client), api.CatalogInstancesApi(client)

def status_of(work):
    try:
        work()
        return 200
    except api.ApiException as error:
        return [error.status, json.loads(error.body)['code']]

app = apps.create_app(api.CreateApp(name='from-python')).app
definition = api.DeploymentDefinition(
    name='web', type='WEB', regions=['fra'], instance_types=[api.DeploymentInstanceType(type='nano')],
    docker=api.DockerSource(image='localhost/busybox', command='sleep', args=['100000']),
    env=[api.DeploymentEnv(key='GREETING', value='hello')],
    scalings=[api.DeploymentScaling(min=2, max=2)])
service = services.create_service(api.CreateService(app_id=app.id, definition=definition)).service
until = time.time() + 200
healthy = []
while len(healthy) < 2 and time.time() < until:
    healthy = instances.list_instances(service_id=service.id, statuses=['HEALTHY', 'STARTING'], limit='10').instances
    healthy = [one for one in healthy if one.status == 'HEALTHY']
    time.sleep(0.05)
first = healthy[0]
described = instances.get_instance(first.id).instance
while services.get_service(service.id).service.status != 'HEALTHY' and time.time() < until:
    time.sleep(0.05)
now = datetime.datetime.now(datetime.timezone.utc)
lived = instances.list_instances(app_id=app.id, starting_time=now - datetime.timedelta(hours=1), ending_time=now + datetime.timedelta(hours=1))
before = instances.list_instances(app_id=app.id, ending_time=datetime.datetime(2020, 1, 1))
by_index = instances.list_instances(service_id=service.id, replica_index='0', statuses=['HEALTHY'])
events = instances.list_instance_events(instance_ids=[first.id], types=['HEALTHY'], order='desc')
ran = instances.exec_command(id=first.id, body_command=['echo', 'a,b', '[c]'], body_disable_tty=True)
told = {
    'app': [app.name, apps.get_app(app.id).app.id == app.id],
    'service': services.get_service(service.id).service.status,
    'deployment': deployments.get_deployment(services.get_service(service.id).service.latest_deployment_id).deployment.definition.env[0].value,
    'indexes': sorted(one.replica_index for one in healthy),
    'described': [described.status, described.type, described.region, described.terminated_at, described.started_at is not None],
    'lived': lived.count, 'before': before.count, 'by_index': by_index.count,
    'events': [[event.type, event.instance_id == first.id] for event in events.events],
    'ran': [base64.b64decode(ran.result.stdout.data).decode(), ran.result.exit_code],
    'nano': catalog.get_catalog_instance('nano').instance.memory,
    'missing': status_of(lambda: instances.get_instance('11111111-1111-4111-8111-111111111111')),
    'wrong': status_of(lambda: instances.list_instances(limit='many')),
    'unknown': status_of(lambda: services.create_service(api.CreateService(app_id=app.id, definition=api.DeploymentDefinition(name='web', docker=api.DockerSource(image='localhost/busybox'))))),
}
services.pause_service(service.id)
while instances.list_instances(service_id=service.id, statuses=['HEALTHY', 'SLEEPING', 'STARTING', 'STOPPING']).count > 0 and time.time() < until:
    time.sleep(0.05)
services.resume_service(service.id)
while instances.list_instances(service_id=service.id, statuses=['HEALTHY']).count < 2 and time.time() < until:
    time.sleep(0.05)
told['resumed'] = instances.list_instances(service_id=service.id, statuses=['HEALTHY']).count
apps.delete_app(app.id)
while status_of(lambda: services.get_service(service.id)) == 200 and services.get_service(service.id).service.status != 'DELETED' and time.time() < until:
    time.sleep(0.05)
told['over'] = instances.list_instances(service_id=service.id, statuses=['HEALTHY']).count
client.configuration.api_key['Bearer'] = 'x' * 64
told['stranger'] = status_of(lambda: instances.list_instances())[0]
print(json.dumps(told))
`

let server: TestServer

before(async () => {
  server = await startServer({ host: 'simulated' })
  await eventually('the image is ready', async () => {
    const { body } = await server.request('POST', '/images', { body: { name: 'localhost/busybox' } })
    return (body as { status: string }).status === 'ready' ? true : null
  })
})
after(() => server.stop())

test('the Python SDK makes a service, reads all of it, executes in a replica, pauses, resumes and deletes', async t => {
  const found = pythonWith(KOYEB_SDK)
  if ('reason' in found) return t.skip(found.reason)
  const ended = await run(found.python, ['-c', PROGRAM], { env: { KOYEB_URL: server.url, KOYEB_TOKEN: server.key } })
  assert.equal(ended.code, 0, ended.stderr)
  assert.deepEqual(JSON.parse(ended.stdout), {
    app: ['from-python', true],
    service: 'HEALTHY',
    deployment: 'hello',
    indexes: [0, 1],
    described: ['HEALTHY', 'nano', 'fra', null, true],
    lived: 2,
    before: 0,
    by_index: 1,
    events: [['HEALTHY', true]],
    ran: ['a,b [c]\n', 0],
    nano: '256MB',
    missing: [404, 'not_found'],
    wrong: [400, 'invalid_argument'],
    unknown: [400, 'invalid_argument'],
    resumed: 2,
    over: 0,
    stranger: 401,
  })
})
