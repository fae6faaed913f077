/**
 * MCP against real VMs: the official client of either era, the inspector's command line, and what only a real guest
 * can show: processes that die with their client, memory that is there after sleep, bytes that are no text.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { CallToolResult, Client } from '@modelcontextprotocol/client'
import { freePort } from './support/free-port.ts'
import { connect, dataOf, ERAS, textOf } from './support/mcp.ts'
import { eventually, startServer } from './support/server.ts'
import type { TestServer } from './support/server.ts'

/** Emulated CPUs on a busy machine are slow; none of this is a measurement. */
const CALL_LIMIT_MS = 300_000
/** A command that ends only if somebody ends it. */
const FOREVER = { timeout_ms: 600_000 }
/** Where the inspector's package is kept between runs; its hundred megabytes are no dependency of ours. */
const INSPECTOR_DIR = fileURLToPath(new URL('../.berth/inspector', import.meta.url))
const INSPECTOR = '@modelcontextprotocol/inspector@2.12.0'
const INSPECTOR_INSTALL_LIMIT_MS = 180_000

interface Said {
  readonly stdout: string
  readonly stderr: string
  readonly encoding: string
  readonly exit_code: number | null
  readonly signal: string | null
  readonly timed_out: boolean
  readonly truncated: { readonly stdout: boolean; readonly stderr: boolean }
  readonly output_bytes: { readonly stdout: number; readonly stderr: number }
}

let server: TestServer
let url: string
before(async () => {
  server = await startServer({ host: 'qemu', env: { BERTH_MCP_LISTEN: '127.0.0.1:0' } })
  url = (JSON.parse(readFileSync(join(server.dataDir, 'server.json'), 'utf8')) as { mcpUrl: string }).mcpUrl
})
after(() => server.stop())

for (const era of ERAS) {
  describe(`a real VM and a client of ${era}`, () => {
    const id = `vm-${era}`
    let client: Client
    before(async () => {
      client = await connect(url, era, server.key)
    })
    after(() => client.close())

    const call = (name: string, args: Record<string, unknown> = {}): Promise<CallToolResult> =>
      client.callTool({ name, arguments: { id, ...args } }, { timeout: CALL_LIMIT_MS, resetTimeoutOnProgress: true })
    const run = async (command: readonly string[], args: Record<string, unknown> = {}) => dataOf<Said>(await call('exec-command', { command, ...args }))
    const shell = (script: string, args: Record<string, unknown> = {}) => run(['/bin/sh', '-c', script], args)

    test('a computer takes two calls, the first with notices of how it goes', async () => {
      const heard: string[] = []
      const created = await client.callTool(
        { name: 'create-instance', arguments: { image: 'localhost/busybox', name: id, memory_mib: 256, env: { COLOUR: 'blue' } } },
        { timeout: CALL_LIMIT_MS, onprogress: ({ message }) => void heard.push(message ?? ''), resetTimeoutOnProgress: true },
      )
      assert.equal(dataOf<{ instance: { status: string } }>(created).instance.status, 'HEALTHY')
      assert.ok(heard.length > 0)
      const said = await shell('echo out; echo err >&2; exit 3')
      assert.deepEqual([said.stdout, said.stderr, said.exit_code, said.signal], ['out\n', 'err\n', 3, null])
    })

    test('commands get what they are given', async () => {
      assert.equal((await shell('echo $A $COLOUR; pwd', { env: { A: '1' }, workdir: '/tmp' })).stdout, '1 blue\n/tmp\n')
      assert.equal((await run(['cat'], { stdin: 'grüße' })).stdout, 'grüße')
      const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, at) => (at * 31) & 0xff))
      const sum = await run(['sha256sum'], { stdin: bytes.toString('base64'), stdin_encoding: 'base64' })
      assert.equal(sum.stdout.slice(0, 64), createHash('sha256').update(bytes).digest('hex'))
      assert.match((await run(['tty'], { tty: true, tty_size: { height: 10, width: 33 } })).stdout, /^\/dev\//)
      assert.equal((await run(['echo', 'x'], { 'body.disableTty': true })).stdout, 'x\n')
      assert.equal(dataOf<Said>(await client.callTool({ name: 'exec-command', arguments: { id, 'body.command': ['echo', 'older', 'spelling'] } })).stdout, 'older spelling\n')
      assert.equal((await shell('kill -9 $$')).signal, 'SIGKILL')
      assert.match(textOf(await call('exec-command', { command: ['/no/such/program'] })), /^command_not_found: /)
    })

    test('output that is too much is cut and says so, and what is no text comes in base64', async () => {
      const much = await shell('yes | head -c 3000000; echo end >&2', { max_output_bytes: 1000 })
      assert.deepEqual([much.stdout.length, much.truncated, much.output_bytes, much.stderr, much.exit_code], [1000, { stdout: true, stderr: false }, { stdout: 3_000_000, stderr: 4 }, 'end\n', 0])
      const binary = await run(['printf', '\\377\\000\\001'])
      assert.deepEqual([binary.encoding, binary.stdout], ['base64', Buffer.from([255, 0, 1]).toString('base64')])
      const coloured = await call('exec-command', { command: ['printf', '\\033[31mred\\033[0m'] })
      assert.ok(!textOf(coloured).includes('\u001b'))
      assert.equal(dataOf<Said>(coloured).stdout, '\u001b[31mred\u001b[0m')
    })

    test('a time limit ends the whole process group, and keeps what was said', async () => {
      const said = await shell('echo before; sleep 7771 & sleep 7772', { timeout_ms: 5000 })
      assert.deepEqual([said.timed_out, said.exit_code, said.stdout], [true, null, 'before\n'])
      await gone('sleep 777')
    })

    test('a client that drops in the middle takes its command with it', async t => {
      const dropped = new AbortController()
      const leaver = await connect(url, era, server.key)
      const pending = leaver.callTool(
        { name: 'exec-command', arguments: { id, command: ['/bin/sh', '-c', 'sleep 8881 & sleep 8882'], ...FOREVER } },
        { signal: dropped.signal, timeout: CALL_LIMIT_MS },
      )
      pending.catch(() => undefined)
      // Both are seen in the guest itself before their client goes, and neither after.
      await there('sleep 8881')
      await there('sleep 8882')
      const leftAt = performance.now()
      await leaver.close()
      await gone('sleep 888')
      t.diagnostic(`seen to be gone ${Math.round(performance.now() - leftAt)} ms after its client (2000 ms is the promise on an idle machine)`)
      dropped.abort()
    })

    test('a client that cancels ends its command', async () => {
      const cancel = new AbortController()
      const pending = client.callTool({ name: 'exec-command', arguments: { id, command: ['sleep', '9991'], ...FOREVER } }, { signal: cancel.signal, timeout: CALL_LIMIT_MS })
      pending.catch(() => undefined)
      await there('sleep 9991')
      cancel.abort()
      await assert.rejects(pending)
      await gone('sleep 9991')
    })

    test('files go in and out, and a directory is listed', async () => {
      const bytes = Buffer.from([0, 255, 10, 13])
      assert.deepEqual(dataOf(await call('write-file', { path: '/srv/deep/er/bytes', content: bytes.toString('base64'), encoding: 'base64', mode: '600' })), { path: '/srv/deep/er/bytes', size: 4 })
      assert.deepEqual(dataOf(await call('read-file', { path: '/srv/deep/er/bytes' })), { content: bytes.toString('base64'), encoding: 'base64', size: 4, truncated: false })
      assert.match(textOf(await call('write-file', { path: '/srv/deep/er/bytes', content: 'x' })), /^already_exists: /)
      await call('write-file', { path: '/srv/deep/er/bytes', content: 'new', overwrite: true })
      await shell('ln -s er /srv/deep/link; printf x > "/srv/deep/two\nlines"')
      const { entries } = dataOf<{ entries: { path: string; kind: string; size: number; mode: string }[] }>(await call('list-files', { path: '/srv/deep', depth: 2 }))
      assert.deepEqual(
        entries.map(({ path, kind, size }) => [path, kind, kind === 'file' ? size : 0]),
        [['er', 'directory', 0], ['er/bytes', 'file', 3], ['link', 'symlink', 0], ['two\nlines', 'file', 1]],
      )
      const proc = dataOf<{ content: string }>(await call('read-file', { path: '/etc/os-release' }))
      assert.match(proc.content, /busybox/)
      const cut = dataOf<{ content: string; truncated: boolean; size: number }>(await call('read-file', { path: '/bin/busybox', max_bytes: 16 }))
      assert.equal(cut.truncated, true)
      assert.ok(cut.size > 100_000)
    })

    test('logs and figures tell of the real thing', async () => {
      const logs = dataOf<{ lines: { message: string }[]; next_since: string }>(await call('get-instance-logs', { contains: 'ready' }))
      assert.deepEqual(logs.lines.map(({ message }) => message), ['localhost/busybox is ready'])
      assert.deepEqual(dataOf<{ lines: unknown[] }>(await call('get-instance-logs', { since: logs.next_since })).lines, [])
      const metrics = dataOf<{ memory: { guest_total_bytes: number }; cpu: { seconds: number } }>(await call('get-instance-metrics', { window_ms: 300 }))
      assert.ok(metrics.memory.guest_total_bytes > 100_000_000 && metrics.cpu.seconds > 0)
    })

    test('an instance that sleeps is woken by a command and by a file, and remembers', async () => {
      await shell('echo 42 > /tmp/answer')
      assert.equal(dataOf<{ instance: { phase: string } }>(await call('suspend-instance')).instance.phase, 'standby')
      assert.match(textOf(await call('get-instance-metrics')), /^invalid_state: /)
      assert.equal((await run(['cat', '/tmp/answer'])).stdout, '42\n')
      await call('suspend-instance')
      assert.equal(dataOf<{ content: string }>(await call('read-file', { path: '/tmp/answer' })).content, '42\n')
    })

    test('what was kept is gone back to, and branches off, with its processes', async () => {
      await shell('echo before > /root/state; (while true; do sleep 6661; done) >/dev/null 2>&1 &')
      const { snapshot } = dataOf<{ snapshot: { id: string } }>(await call('create-snapshot', { name: 'checkpoint' }))
      await shell('echo after > /root/state; pkill -f "sleep 6661"; true')
      const back = dataOf<{ instance: { phase: string } }>(await client.callTool({ name: 'restore-snapshot', arguments: { snapshot_id: snapshot.id, timeout_ms: CALL_LIMIT_MS } }, { timeout: CALL_LIMIT_MS }))
      assert.equal(back.instance.phase, 'running')
      assert.equal((await run(['cat', '/root/state'])).stdout, 'before\n')
      const branch = dataOf<{ instance: { id: string; name: string } }>(await call('fork-instance', { name: `${id}-branch`, timeout_ms: CALL_LIMIT_MS })).instance
      assert.deepEqual((await shell('cat /root/state; hostname', { id: branch.id })).stdout, `before\n${id}-branch\n`)
      dataOf(await client.callTool({ name: 'delete-snapshot', arguments: { snapshot_id: snapshot.id } }))
      dataOf(await call('delete-instance', { id: branch.id, timeout_ms: CALL_LIMIT_MS }))
    })

    test('every other tool does what it says', async () => {
      const phase = async (tool: string, args: Record<string, unknown> = {}) => dataOf<{ instance: { phase: string } }>(await call(tool, args)).instance.phase
      await shell('echo kept > /root/kept')
      assert.equal(await phase('restart-instance', { timeout_ms: CALL_LIMIT_MS }), 'running')
      assert.equal(await phase('stop-instance', { force: true, timeout_ms: CALL_LIMIT_MS }), 'stopped')
      assert.match(textOf(await call('exec-command', { command: ['true'] })), /^invalid_state: /)
      const secret = await server.request('PUT', '/berth/v1/secrets/TOKEN', { body: { value: 'correct-horse' } })
      assert.equal(secret.status, 200)
      await call('update-instance', { vcpus: 2, memory_mib: 320, secrets: ['TOKEN'] })
      assert.equal(await phase('start-instance', { timeout_ms: CALL_LIMIT_MS }), 'running')
      assert.equal((await run(['cat', '/root/kept'])).stdout, 'kept\n')
      assert.equal((await shell('nproc; echo ${#TOKEN}')).stdout, '2\n13\n')
      const { memory } = dataOf<{ memory: { guest_total_bytes: number } }>(await call('get-instance-metrics', { window_ms: 100 }))
      assert.ok(memory.guest_total_bytes > 256 * 2 ** 20, `${memory.guest_total_bytes} bytes`)
      assert.doesNotMatch(JSON.stringify(await call('get-instance')), /correct-horse/)

      await shell('mkdir -p /srv && echo served > /srv/index.html && httpd -p 80 -h /srv')
      const port = await freePort()
      const served = () => fetch(`http://127.0.0.1:${port}/`, { signal: AbortSignal.timeout(2000) }).then(answer => answer.text(), () => null)
      await call('update-instance', { ports: [{ host_port: port, guest_port: 80 }] })
      await eventually('the port leads to the guest', async () => ((await served()) === 'served\n' ? true : null), 60_000)
      await call('update-instance', { ports: [] })
      assert.equal(await served(), null)
      assert.equal(await phase('wait-for-instance', { status: 'HEALTHY' }), 'running')
      assert.equal(await phase('update-instance', { tags: { seen: 'yes' } }), 'running')
      for (const tool of ['list-file-systems', 'list-firewalls', 'list-images', 'list-instance-types', 'list-regions', 'list-secrets', 'list-instances', 'list-instance-events']) {
        dataOf(await client.callTool({ name: tool, arguments: {} }))
      }
      assert.equal(dataOf<{ instance: { name: string } }>(await call('get-instance')).instance.name, id)
      assert.equal(dataOf<{ phase: string }>(await call('delete-instance', { timeout_ms: CALL_LIMIT_MS })).phase, 'deleted')
    })

    /** Waits until a process of exactly these words runs in the guest; the shell that is to start it is not one. */
    async function there(words: string): Promise<void> {
      await eventually(`${words} runs`, async () => ((await commands()).includes(words) ? true : null), 120_000)
    }

    /** Waits until nothing with these words runs there, its shell neither. */
    async function gone(words: string): Promise<void> {
      await eventually(`${words} is gone`, async () => ((await commands()).some(line => line.includes(words)) ? null : true), 60_000)
    }

    /** What the guest itself says that it runs. */
    async function commands(): Promise<readonly string[]> {
      const lines = (await run(['ps', '-o', 'args'], { timeout_ms: 60_000, max_output_bytes: 1_000_000 })).stdout.split('\n').map(line => line.trim())
      assert.ok(lines.includes('ps -o args'), 'the guest does not list its processes')
      return lines
    }
  })
}

describe('the inspector’s command line', () => {
  let cli: string | null = null
  before(async () => {
    cli = await bringInspector()
  })

  async function inspect(...args: readonly string[]): Promise<{ status: number; stdout: string }> {
    const run = promisify(execFile)
    const given = ['--cli', url, '--transport', 'http', '--header', `Authorization: Bearer ${server.key}`, ...args]
    return run(process.execPath, [cli ?? '', ...given], { timeout: CALL_LIMIT_MS, env: { PATH: process.env['PATH'] ?? '', HOME: server.dataDir } }).then(
      ({ stdout }) => ({ status: 0, stdout }),
      (error: Error & { code?: number; stdout?: string }) => ({ status: error.code ?? -1, stdout: `${error.stdout ?? ''}${error.message}` }),
    )
  }

  for (const era of ['legacy', 'modern']) {
    test(`lists and calls tools, and reads resources (${era})`, async t => {
      if (cli === null) return t.skip('the inspector could not be fetched: the npm registry does not answer')
      const listed = await inspect('--protocol-era', era, '--method', 'tools/list')
      assert.equal(listed.status, 0, listed.stdout)
      assert.match(listed.stdout, /"wait-for-instance"/)
      const name = 'inspected'
      const wanted = { image: 'localhost/busybox', name, memory_mib: 256, idempotency_key: 'inspected' }
      const created = await inspect('--protocol-era', era, '--method', 'tools/call', '--tool-name', 'create-instance', '--tool-args-json', JSON.stringify(wanted))
      assert.equal(created.status, 0, created.stdout)
      const said = await inspect('--protocol-era', era, '--method', 'tools/call', '--tool-name', 'exec-command', '--tool-args-json', JSON.stringify({ id: name, command: ['echo', 'inspected'] }))
      assert.match(said.stdout, /inspected\\n/)
      const read = await inspect('--protocol-era', era, '--method', 'resources/read', '--uri', `instance://${name}`)
      assert.match(read.stdout, /HEALTHY/)
      const refused = await inspect('--protocol-era', era, '--method', 'tools/call', '--tool-name', 'get-instance', '--tool-args-json', '{"id":"nobody"}')
      assert.equal(refused.status, 5)
      assert.match(refused.stdout, /not_found/)
    })
  }

  test('calls every tool there is', async t => {
    if (cli === null) return t.skip('the inspector could not be fetched: the npm registry does not answer')
    const id = 'inspected'
    const called = new Set<string>()
    const call = async (tool: string, args: Record<string, unknown> = {}): Promise<unknown> => {
      called.add(tool)
      const { status, stdout } = await inspect('--protocol-era', 'modern', '--method', 'tools/call', '--tool-name', tool, '--tool-args-json', JSON.stringify(args))
      assert.equal(status, 0, `${tool}: ${stdout}`)
      return (JSON.parse(stdout) as { structuredContent: unknown }).structuredContent
    }
    const phase = async (tool: string, args: Record<string, unknown> = {}) => ((await call(tool, { id, ...args })) as { instance: { phase: string } }).instance.phase
    const patient = { timeout_ms: CALL_LIMIT_MS }

    await call('create-instance', { image: 'localhost/busybox', name: id, memory_mib: 256, idempotency_key: 'inspected' })
    const [instance, found] = (await Promise.all([call('get-instance', { id }), call('list-instances', { statuses: ['HEALTHY'] })])) as [
      { instance: { id: string; name: string } },
      { instances: { id: string }[] },
    ]
    assert.equal(instance.instance.name, id)
    assert.ok(found.instances.some(each => each.id === instance.instance.id))
    const [images, types] = (await Promise.all([call('list-images'), call('list-instance-types')])) as [{ images: { name: string }[] }, { types: unknown[] }]
    assert.ok(images.images.some(({ name }) => name.startsWith('localhost/busybox')))
    assert.ok(types.types.length > 0)
    for (const tool of ['list-file-systems', 'list-firewalls', 'list-secrets']) assert.equal(typeof ((await call(tool)) as { count: number }).count, 'number')
    const [regions, events] = (await Promise.all([call('list-regions'), call('list-instance-events', { instance_ids: [instance.instance.id] })])) as [{ regions: unknown[] }, { events: unknown[] }]
    assert.ok(regions.regions.length > 0 && events.events.length > 0)
    const [logs, metrics] = (await Promise.all([call('get-instance-logs', { id }), call('get-instance-metrics', { id, window: '300ms' })])) as [
      { lines: unknown[] },
      { memory: { guest_total_bytes: number } },
    ]
    assert.ok(logs.lines.length > 0 && metrics.memory.guest_total_bytes > 0)
    assert.deepEqual(await call('write-file', { id, path: '/root/said/note', content: 'kept' }), { path: '/root/said/note', size: 4 })
    const [read, listed] = (await Promise.all([call('read-file', { id, path: '/root/said/note' }), call('list-files', { id, path: '/root/said' })])) as [
      { content: string },
      { entries: { path: string }[] },
    ]
    assert.equal(read.content, 'kept')
    assert.deepEqual(listed.entries.map(({ path }) => path), ['note'])
    assert.deepEqual(await call('edit-file', { id, path: '/root/said/note', old_text: 'kept', new_text: 'kept well' }), { path: '/root/said/note', replaced: 1, size: 9 })
    const { command_id: commandId } = (await call('start-command', { id, command: ['sleep', '9991'], wait_ms: 0 })) as { command_id: string }
    assert.equal(((await call('get-command', { id, command_id: commandId })) as { status: string }).status, 'running')
    assert.deepEqual(Object.entries((await call('stop-command', { id, command_id: commandId })) as object).slice(1, 3), [['status', 'ended'], ['exit_code', 143]])
    assert.equal(await phase('suspend-instance'), 'standby')
    const said = (await call('exec-command', { id, command: ['cat', '/root/said/note'] })) as { stdout: string; exit_code: number }
    assert.deepEqual([said.stdout, said.exit_code], ['kept well', 0])
    assert.equal(await phase('update-instance', { tags: { seen: 'yes' } }), 'running')
    assert.equal(await phase('restart-instance', patient), 'running')
    assert.equal(await phase('stop-instance', { force: true, ...patient }), 'stopped')
    const { snapshot } = (await call('create-snapshot', { id, name: 'inspected' })) as { snapshot: { id: string; kind: string } }
    assert.equal(snapshot.kind, 'stopped')
    assert.deepEqual(((await call('list-snapshots')) as { snapshots: unknown[] }).snapshots, [snapshot])
    const fork = (await call('fork-instance', { snapshot_id: snapshot.id, name: 'inspected-fork' })) as { instance: { id: string; phase: string } }
    assert.equal(fork.instance.phase, 'stopped')
    assert.equal(((await call('restore-snapshot', { snapshot_id: snapshot.id })) as { instance: { phase: string } }).instance.phase, 'stopped')
    assert.deepEqual(await call('delete-snapshot', { snapshot_id: snapshot.id }), { id: snapshot.id })
    await call('delete-instance', { id: fork.instance.id })
    assert.equal(await phase('start-instance', patient), 'running')
    assert.equal(await phase('wait-for-instance', { status: 'HEALTHY' }), 'running')
    assert.equal(((await call('delete-instance', { id, ...patient })) as { phase: string }).phase, 'deleted')

    const { tools } = JSON.parse((await inspect('--protocol-era', 'modern', '--method', 'tools/list')).stdout) as { tools: { name: string }[] }
    assert.deepEqual([...called].toSorted(), tools.map(({ name }) => name).toSorted())
  })
})

/** The inspector's program, fetched once; null where that can't be done. */
async function bringInspector(): Promise<string | null> {
  const root = join(INSPECTOR_DIR, 'node_modules', '@modelcontextprotocol', 'inspector')
  const manifest = join(root, 'package.json')
  if (!existsSync(manifest)) {
    try {
      await promisify(execFile)(
        'npm',
        ['install', '--prefix', INSPECTOR_DIR, '--no-save', '--no-package-lock', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', INSPECTOR],
        { timeout: INSPECTOR_INSTALL_LIMIT_MS },
      )
    } catch {
      // No network: the test says that it is skipped.
      return null
    }
  }
  const { bin } = JSON.parse(readFileSync(manifest, 'utf8')) as { bin: string | Record<string, string> }
  const program = typeof bin === 'string' ? bin : Object.values(bin)[0]
  return program === undefined ? null : join(root, program)
}
