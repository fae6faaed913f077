/**
 * The vendor's own Python SDK, unmodified, from the public package index, against a real VM: it checks every answer
 * against its models, and its helpers speak exec and copy over their WebSockets.
 */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { HYPEMAN_SDK, pythonWith } from './support/python-client.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'
import { run } from './support/ssh.ts'

const PROGRAM = `
import asyncio, json, os, pathlib, stat, tempfile
import hypeman
from hypeman.lib import cp_from_instance, cp_to_instance, exec, exec_async

client = hypeman.Hypeman(timeout=300, max_retries=0)
told = {}

def refusal(work):
    try:
        work()
        return None
    except hypeman.APIStatusError as error:
        return [error.status_code, error.body['code']]

def said(id, *command, **options):
    ran = exec(client, id, command, **options)
    return [ran.output.decode(), ran.exit_code]

made = client.instances.create(
    name='python', image='localhost/busybox', size='256MB', vcpus=1, overlay_size='1GB', env={'GREETING': 'hello'}, tags={'made-by': 'python'},
    entrypoint=['/bin/sh', '-c'], cmd=['echo up; while true; do sleep 3600; done'])
ready = client.instances.wait(made.id, state='Running', api_timeout='5m', timeout=310)
told['ready'] = [ready.state, ready.timed_out]
told['listed'] = [one.id == made.id for one in client.instances.list(tags={'made-by': 'python'})]
told['none'] = client.instances.list(tags={'made-by': 'nobody'})
got = client.instances.get('python')
told['got'] = [got.id == made.id, got.state, got.image, got.vcpus, got.size, got.env, got.network.enabled]

told['exec'] = said(made.id, 'sh', '-c', 'echo $GREETING $MORE in $PWD; echo aside >&2; exit 3', env={'MORE': 'there'}, cwd='/tmp', timeout=120)
told['stdin'] = said(made.id, 'head', '-c', '5', stdin=b'12345', timeout=120)
told['terminal'] = said(made.id, 'sh', '-c', 'stty size', tty=True, rows=30, cols=100, timeout=120)
told['missing command'] = said(made.id, 'no-such-command')[1] != 0
# A job that goes on when the exec that began it is over, looked after by others: how one benchmark runs its commands.
told['job'] = said(made.id, 'sh', '-c', 'setsid sh -c "sleep 1; echo done > /tmp/job" >/dev/null 2>&1 </dev/null & echo begun')
told['job done'] = said(made.id, 'sh', '-c', 'until [ -f /tmp/job ]; do sleep 0.1; done; cat /tmp/job', timeout=120)

async def many():
    async with hypeman.AsyncHypeman(timeout=300) as later:
        ran = await asyncio.gather(*(exec_async(later, made.id, ['echo', str(number)], timeout=120) for number in range(8)))
        return [one.output.decode().strip() for one in ran]
told['many'] = asyncio.run(many())

with tempfile.TemporaryDirectory() as scratch:
    tree = pathlib.Path(scratch, 'tree')
    (tree / 'deep').mkdir(parents=True)
    (tree / 'deep' / 'bytes').write_bytes(bytes(range(256)) * 1024)
    (tree / 'run.sh').write_text('#!/bin/sh\\necho ran\\n')
    (tree / 'run.sh').chmod(0o755)
    cp_to_instance(client, made.id, tree, '/root/copied', archive=True)
    told['copied'] = said(made.id, '/root/copied/run.sh')
    back = pathlib.Path(scratch, 'back')
    back.mkdir()
    cp_from_instance(client, made.id, '/root/copied', back, archive=True)
    (returned,) = [one for one in back.rglob('bytes')]
    told['returned'] = [returned.read_bytes() == (tree / 'deep' / 'bytes').read_bytes(), bool(returned.parent.parent.joinpath('run.sh').stat().st_mode & stat.S_IXUSR)]
told['stat'] = [client.instances.stat(made.id, path='/root/copied').is_dir, client.instances.stat(made.id, path='/none').exists]
told['log'] = next(line for line in client.instances.logs(made.id, tail=5) if 'up' in line)
told['stats'] = client.instances.stats(made.id).instance_name

volume = client.volumes.create(name='python-disk', size_gb=1)
client.instances.volumes.attach(volume.id, id=made.id, mount_path='/data')
told['volume'] = said(made.id, 'sh', '-c', 'echo kept > /data/file; cat /data/file')
client.instances.volumes.detach(volume.id, id=made.id)

told['asleep'] = client.instances.standby(made.id).state
client.instances.restore(made.id)
told['awake'] = client.instances.wait(made.id, state='Running', api_timeout='5m').state
told['remembers'] = said(made.id, 'cat', '/tmp/job')
copy = client.instances.fork(made.id, name='python-copy', from_running=True)
client.instances.wait(copy.id, state='Running', api_timeout='5m')
told['copy'] = said(copy.id, 'cat', '/tmp/job')
client.instances.delete(copy.id)
told['stopped'] = client.instances.stop(made.id).state

told['refused'] = [
    refusal(lambda: client.instances.get('nobody')),
    refusal(lambda: client.instances.create(name='python', image='localhost/busybox')),
    refusal(lambda: client.instances.create(name='other', image='localhost/busybox', size='lots')),
    refusal(lambda: hypeman.Hypeman(api_key='wrong', max_retries=0).instances.list()),
]
client.instances.delete(made.id)
client.volumes.delete(volume.id)
told['left'] = [len(client.instances.list()), len(client.volumes.list())]
told['names'] = [image.name for image in client.images.list()]
told['health'] = client.health.check().status
print(json.dumps(told))
`

let server: TestServer

before(async () => {
  server = await startServer({ host: 'qemu' })
  await eventually('the image is ready', async () => {
    const { body } = await server.request('POST', '/images', { body: { name: 'localhost/busybox' } })
    return (body as { status: string }).status === 'ready' ? true : null
  })
})
after(() => server.stop())

test('the Python SDK makes a VM, runs and copies in it, lets it sleep and forks it, and gives all of it back', async t => {
  const found = pythonWith(HYPEMAN_SDK)
  if ('reason' in found) return t.skip(found.reason)
  const ended = await run(found.python, ['-c', PROGRAM], { env: { HYPEMAN_BASE_URL: server.url, HYPEMAN_API_KEY: server.key } })
  assert.equal(ended.code, 0, ended.stderr)
  assert.deepEqual(JSON.parse(ended.stdout), {
    ready: ['Running', false],
    listed: [true],
    none: [],
    got: [true, 'Running', 'localhost/busybox', 1, '256.0 MB', { GREETING: 'hello' }, true],
    exec: ['hello there in /tmp\naside\n', 3],
    stdin: ['12345', 0],
    terminal: ['30 100\r\n', 0],
    'missing command': true,
    job: ['begun\n', 0],
    'job done': ['done\n', 0],
    many: ['0', '1', '2', '3', '4', '5', '6', '7'],
    copied: ['ran\n', 0],
    returned: [true, true],
    stat: [true, false],
    log: 'up',
    stats: 'python',
    volume: ['kept\n', 0],
    asleep: 'Standby',
    awake: 'Running',
    remembers: ['done\n', 0],
    copy: ['done\n', 0],
    stopped: 'Stopped',
    refused: [
      [404, 'not_found'],
      [400, 'name_conflict'],
      [400, 'invalid_size'],
      [401, 'Unauthorized'],
    ],
    left: [0, 0],
    names: ['localhost/busybox:latest'],
    health: 'ok',
  })
})
