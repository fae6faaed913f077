/** `berth mcp`: a real process on stdin and stdout in front of a real server, with the official client of either era. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Client } from '@modelcontextprotocol/client'
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio'
import { dataOf, ERAS, textOf, TOOLS } from './support/mcp.ts'
import type { Era } from './support/mcp.ts'
import { eventually, startServer } from './support/server.ts'
import type { TestServer } from './support/server.ts'

const CLI = fileURLToPath(new URL('../src/cli/main.ts', import.meta.url))
const NODE_FLAGS = ['--disable-warning=ExperimentalWarning', CLI]
/** What a command that doesn't end by itself is given; nobody waits for it. */
const FOREVER_MS = 300_000

let server: TestServer
before(async () => {
  server = await startServer({ env: { BERTH_MCP_LISTEN: '127.0.0.1:0' } })
})
after(() => server.stop())

function environment(): Record<string, string> {
  return { PATH: process.env['PATH'] ?? '', HOME: server.dataDir, BERTH_DATA_DIR: server.dataDir }
}

async function start(era: Era, args: readonly string[] = []): Promise<Client> {
  const client = new Client({ name: 'test', version: '1' }, { versionNegotiation: { mode: era === '2025' ? 'legacy' : { pin: era } } })
  await client.connect(new StdioClientTransport({ command: process.execPath, args: [...NODE_FLAGS, 'mcp', ...args], env: environment(), stderr: 'pipe' }))
  return client
}

/** How many calls of exec-command the server has told the end of, and how the last one ended. */
function execEnds(): readonly { readonly outcome: string; readonly argv: readonly string[] }[] {
  return server
    .output()
    .split('\n')
    .filter(line => line.includes('"audit":"mcp"') && line.includes('"tool":"exec-command"'))
    .map(line => JSON.parse(line) as { outcome: string; argv: string[] })
}

for (const era of ERAS) {
  describe(`a client of ${era} on stdio`, () => {
    let client: Client
    before(async () => {
      client = await start(era)
    })
    after(() => client.close())

    test('gets a computer in two calls, and hears how it goes', async () => {
      const { tools } = await client.listTools()
      assert.equal(tools.length, TOOLS.length)
      const created = await client.callTool({ name: 'create-instance', arguments: { image: 'localhost/busybox', name: `stdio-${era}`, type: 'nano' } })
      assert.equal(dataOf<{ instance: { status: string } }>(created).instance.status, 'HEALTHY')
      const said = await client.callTool({ name: 'exec-command', arguments: { id: `stdio-${era}`, command: ['echo', 'hello'] } })
      assert.equal(dataOf<{ stdout: string }>(said).stdout, 'hello\n')
      const heard: { progress: number; message?: string | undefined }[] = []
      const waited = await client.callTool(
        { name: 'wait-for-instance', arguments: { id: `stdio-${era}`, status: 'STOPPED', timeout_ms: 2000 } },
        { onprogress: each => void heard.push(each) },
      )
      assert.equal(dataOf<{ reached: boolean }>(waited).reached, false)
      assert.ok(heard.length >= 2 && heard.every(({ progress }, at) => progress > (heard[at - 1]?.progress ?? 0)), JSON.stringify(heard))
      assert.equal(heard[0]?.message, `stdio-${era} is running`)
      const failed = await client.callTool({ name: 'get-instance', arguments: { id: 'nobody' } })
      assert.equal(failed.isError, true)
      assert.match(textOf(failed), /^not_found: /)
      assert.match(textOf(await client.callTool({ name: 'get-instance', arguments: { name: 'x' } })), /id/)
      await assert.rejects(client.callTool({ name: 'format-disk', arguments: {} }), (error: Error & { code?: number }) => error.code === -32_602)
    })

    test('reads and follows an instance', async () => {
      const uri = `instance://stdio-${era}`
      const updated: string[] = []
      client.setNotificationHandler('notifications/resources/updated', ({ params }) => void updated.push(params.uri))
      const [content] = (await client.readResource({ uri })).contents
      assert.match(content !== undefined && 'text' in content ? content.text : '', /"phase":"running"/)
      if (era === '2025') await client.subscribeResource({ uri })
      else await client.listen({ resourceSubscriptions: [uri] })
      await client.callTool({ name: 'suspend-instance', arguments: { id: `stdio-${era}` } })
      await eventually(`a notice of ${uri}`, async () => (updated.includes(uri) ? true : null))
      await assert.rejects(client.readResource({ uri: 'instance://nobody' }))
    })

    test('that cancels ends its command', async () => {
      const before = execEnds().length
      const cancel = new AbortController()
      const call = client.callTool(
        { name: 'exec-command', arguments: { id: `stdio-${era}`, command: ['sleep', '250'], timeout_ms: FOREVER_MS } },
        { signal: cancel.signal },
      )
      setTimeout(() => cancel.abort(), 1500)
      await assert.rejects(call)
      const ends = await eventually('the command’s end', async () => (execEnds().length > before ? execEnds() : null))
      assert.deepEqual([ends.at(-1)?.outcome, ends.at(-1)?.argv], ['cancelled', ['sleep', '250']])
    })

    test('that is gone takes its command with it', async () => {
      const leaver = await start(era)
      const before = execEnds().length
      const call = leaver.callTool({ name: 'exec-command', arguments: { id: `stdio-${era}`, command: ['sleep', '251'], timeout_ms: FOREVER_MS } })
      call.catch(() => undefined)
      await new Promise(resolve => setTimeout(resolve, 1500))
      await leaver.close()
      const ends = await eventually('the command’s end', async () => (execEnds().length > before ? execEnds() : null))
      assert.deepEqual([ends.at(-1)?.outcome, ends.at(-1)?.argv], ['cancelled', ['sleep', '251']])
    })

    test('is shown no more than it was started for', async () => {
      const careful = await start(era, ['--no-exec', '--toolsets', 'instances,exec'])
      assert.deepEqual((await careful.listTools()).tools.map(({ name }) => name), ['get-instance', 'list-instances'])
      await careful.close()
    })
  })
}

describe('what goes wrong before anything is served', () => {
  async function run(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<{ status: number | null; stdout: string; stderr: string }> {
    const child = spawn(process.execPath, [...NODE_FLAGS, 'mcp', ...args], { env: { ...environment(), ...env }, stdio: ['pipe', 'pipe', 'pipe'] })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk))
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk))
    const [status] = (await once(child, 'close')) as [number | null]
    return { status, stdout, stderr }
  }

  for (const [name, args, env, expected] of [
    ['no server', ['--url', 'http://127.0.0.1:9'], {}, /No MCP server answers at http:\/\/127\.0\.0\.1:9\/mcp: start one with "berth serve"/],
    ['no such key', [], { BERTH_KEY: 'x'.repeat(64) }, /doesn't know this key/],
    ['no such toolset', ['--toolsets', 'shell'], {}, /"shell" is no toolset/],
  ] as const) {
    test(`${name} is one sentence on stderr, nothing on stdout, and status 1`, async () => {
      const { status, stdout, stderr } = await run(args, env)
      assert.deepEqual([status, stdout], [1, ''])
      assert.match(stderr, expected)
      assert.equal(stderr.trim().split('\n').length, 1, stderr)
    })
  }
})

test('the server says where it serves MCP, in its file and in its first words', () => {
  const { mcpUrl } = JSON.parse(readFileSync(join(server.dataDir, 'server.json'), 'utf8')) as { mcpUrl: string }
  assert.match(mcpUrl, /^http:\/\/127\.0\.0\.1:\d+\/mcp$/)
  assert.ok(server.output().includes(`MCP for agents at ${mcpUrl}`))
})
