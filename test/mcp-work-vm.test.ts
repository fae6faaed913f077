/**
 * What an agent does with a computer, from its first call to its last, on a real VM: it brings a program and tests, runs them in
 * the background, mends the program, serves it on a port, keeps a state and branches from it; and what becomes of commands
 * in the background when something happens to their instance.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { CallToolResult, Client } from '@modelcontextprotocol/client'
import { connect, dataOf, textOf } from './support/mcp.ts'
import { eventually, startServer } from './support/server.ts'
import type { TestServer } from './support/server.ts'

/** Emulated CPUs on a busy machine are slow; none of this is a measurement. */
const CALL_LIMIT_MS = 300_000
const PATIENT = { wait_ms: 240_000 }

interface Command {
  readonly command_id: string
  readonly status: string
  readonly exit_code: number | null
  readonly output: string
  readonly encoding: string
  readonly next_offset: number
  readonly output_bytes: number
  readonly log: string
}

let server: TestServer
let client: Client
const call = (name: string, args: Record<string, unknown> = {}): Promise<CallToolResult> =>
  client.callTool({ name, arguments: { id: 'work', ...args } }, { timeout: CALL_LIMIT_MS, resetTimeoutOnProgress: true })
const command = async (tool: string, args: Record<string, unknown>) => dataOf<Command>(await call(tool, args))
const shell = (script: string, args: Record<string, unknown> = {}) => command('start-command', { command: ['/bin/sh', '-c', script], ...args })
const look = (from: Command, args: Record<string, unknown> = {}) => command('get-command', { command_id: from.command_id, ...args })
const said = async (id: string, ...words: readonly string[]) => dataOf<{ stdout: string }>(await call('exec-command', { id, command: words })).stdout

before(async () => {
  server = await startServer({ host: 'qemu', env: { BERTH_MCP_LISTEN: '127.0.0.1:0' } })
  const { mcpUrl } = JSON.parse(readFileSync(join(server.dataDir, 'server.json'), 'utf8')) as { mcpUrl: string }
  client = await connect(mcpUrl, '2026-07-28', server.key)
  dataOf(await client.callTool({ name: 'create-instance', arguments: { image: 'localhost/busybox', name: 'work', memory_mib: 256 } }, { timeout: CALL_LIMIT_MS, resetTimeoutOnProgress: true }))
})
after(async () => {
  await client.close()
  await server.stop()
})

test('an agent brings a program, finds its fault, mends it, serves it, and branches from what it has', async () => {
  dataOf(await call('write-file', { path: '/app/greet.sh', content: '#!/bin/sh\necho "hello, $2"\n', mode: '755' }))
  dataOf(await call('write-file', { path: '/app/test.sh', content: 'test "$(/app/greet.sh you)" = "hello, you" && echo passed || { echo failed; exit 1; }\n' }))
  const tests = { command: ['/bin/sh', 'test.sh'], workdir: '/app', ...PATIENT }
  const failed = await command('start-command', tests)
  assert.deepEqual([failed.status, failed.exit_code, failed.output], ['ended', 1, 'failed\n'])
  dataOf(await call('edit-file', { path: '/app/greet.sh', old_text: '$2', new_text: '$1' }))
  const passed = await command('start-command', tests)
  assert.deepEqual([passed.status, passed.exit_code, passed.output], ['ended', 0, 'passed\n'])

  const site = await command('start-command', { command: ['httpd', '-f', '-p', '80', '-h', '/app'], wait_ms: 0 })
  const { instance } = dataOf<{ instance: { ports: readonly { host_port: number; guest_port: number }[] } }>(await call('update-instance', { ports: [{ guest_port: 80 }] }))
  const [port] = instance.ports
  assert.equal(port?.guest_port, 80)
  const fetched = () => fetch(`http://127.0.0.1:${port.host_port}/greet.sh`, { signal: AbortSignal.timeout(2000) }).then(answer => answer.text(), () => null)
  await eventually('the port leads to what it serves', async () => ((await fetched()) === '#!/bin/sh\necho "hello, $1"\n' ? true : null), 120_000)
  assert.equal((await look(site)).status, 'running')

  dataOf(await call('create-snapshot', { name: 'good' }))
  dataOf(await call('exec-command', { command: ['rm', '-r', '/app'] }))
  dataOf(await call('fork-instance', { id: undefined, snapshot_id: 'good', name: 'branch' }))
  assert.equal(await said('branch', '/app/greet.sh', 'branch'), 'hello, branch\n')
  // It goes on in the branch, where it can be ended without an effect here.
  const there = { id: 'branch', command_id: site.command_id }
  assert.equal((await command('get-command', there)).status, 'running')
  assert.equal((await command('stop-command', there)).exit_code, 143)
  assert.equal((await look(site)).status, 'running')
  dataOf(await call('delete-instance', { id: 'branch' }))
  assert.equal(dataOf<{ instance: { phase: string } }>(await call('restore-snapshot', { id: undefined, snapshot_id: 'good' })).instance.phase, 'running')
  assert.equal(await said('work', '/app/greet.sh', 'again'), 'hello, again\n')
})

describe('a command in the background', () => {
  test('is told in pieces that meet, its end first, and no character is cut in two', async () => {
    const one = await shell('printf aäöü; printf more >&2; exit 7', PATIENT)
    assert.deepEqual([one.status, one.exit_code, one.output, one.output_bytes, one.next_offset], ['ended', 7, 'aäöümore', 11, 11])
    const pieces: string[] = []
    for (let offset = 0; offset < one.output_bytes; ) {
      const piece = await look(one, { offset, max_bytes: 4 })
      pieces.push(piece.output)
      assert.ok(piece.next_offset > offset, 'it goes on')
      offset = piece.next_offset
    }
    assert.deepEqual(pieces, ['aä', 'öü', 'more'])
    assert.equal((await look(one, { max_bytes: 4 })).output, 'more')
    assert.deepEqual([(await look(one, { offset: 99 })).output, (await look(one, { offset: 99 })).next_offset], ['', 99])
    assert.equal(await said('work', 'cat', one.log), 'aäöümore')
    const bytes = await shell('printf "\\\\377\\\\000"', PATIENT)
    assert.deepEqual([bytes.encoding, bytes.output], ['base64', Buffer.from([255, 0]).toString('base64')])
  })

  test('has the variables, directory and user that it is given, and no input', async () => {
    const given = await shell('echo $A; pwd; id -u; cat; echo end', { env: { A: 'one' }, workdir: '/etc', user: '1000', ...PATIENT })
    assert.equal(given.output, 'one\n/etc\n1000\nend\n')
    const absent = await command('start-command', { command: ['no-such-program'], ...PATIENT })
    assert.deepEqual([absent.status, absent.exit_code], ['ended', 127])
    assert.match(absent.output, /no-such-program: not found/)
  })

  test('is ended with all of its processes, by force where it does not listen', async () => {
    const gentle = await shell('trap "echo bye; exit 5" TERM; sleep 7771 & echo ready; while :; do wait; done')
    await eventually('it is ready', async () => ((await look(gentle)).output === 'ready\n' ? true : null), 120_000)
    const ended = await command('stop-command', { command_id: gentle.command_id, timeout_s: 120 })
    assert.deepEqual([ended.status, ended.exit_code, ended.output], ['ended', 5, 'ready\nbye\n'])
    const deaf = await shell('trap "" TERM; echo deaf; sleep 7772; sleep 7773')
    await eventually('it is deaf', async () => ((await look(deaf)).output === 'deaf\n' ? true : null), 120_000)
    const killed = await command('stop-command', { command_id: deaf.command_id, timeout_s: 1 })
    assert.deepEqual([killed.status, killed.exit_code], ['ended', 137])
    await eventually('nothing of them runs', async () => (/sleep 777/.test(await said('work', 'ps', '-o', 'args')) ? null : true), 60_000)
    assert.deepEqual(await command('stop-command', { command_id: deaf.command_id }), killed)
  })

  test('is lost where its exit code could not be written, and told to be unreadable where something else lies there', async () => {
    const over = await shell('echo done', PATIENT)
    const exitCode = over.log.replace(/output$/, 'exit_code')
    await said('work', 'truncate', '-s', '0', exitCode)
    assert.deepEqual([(await look(over)).status, (await look(over)).exit_code, (await look(over)).output], ['lost', null, 'done\n'])
    await said('work', 'cp', '/proc/self/status', exitCode)
    assert.match(textOf(await call('get-command', { command_id: over.command_id })), /^guest_path: What is known of the command can't be read/)
  })

  test('goes on while its instance sleeps and wakes, and is told to be lost when it was stopped', async () => {
    const long = await command('start-command', { command: ['sleep', '7774'], wait_ms: 0 })
    dataOf(await call('suspend-instance'))
    assert.equal((await look(long)).status, 'running')
    dataOf(await call('restart-instance'))
    const lost = await call('get-command', { command_id: long.command_id })
    assert.deepEqual([dataOf<Command>(lost).status, dataOf<Command>(lost).exit_code], ['lost', null])
    assert.match(textOf(lost), /its instance was stopped/)
    assert.match(textOf(await call('get-command', { command_id: 'none' })), /^not_found: There is no command "none" in the instance/)
  })
})

test('slips of argv are told with what to write', async () => {
  assert.match(textOf(await call('exec-command', { command: 'ls -la' })), /must be a list of words like \["ls","-la"\]/)
  assert.match(textOf(await call('exec-command', { command: ['ls -la'] })), /^command_not_found: .*one word of command is one argument/)
  const late = textOf(await call('exec-command', { command: ['sleep', '60'], timeout_ms: 100 }))
  assert.match(late, /timed out after 100 ms and was killed; start-command runs what takes longer/)
})
