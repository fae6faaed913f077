/** An MCP endpoint over a real engine and a simulated host, and the official client of either era against it. */
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import type { CallToolResult } from '@modelcontextprotocol/client'
import { readFileSync } from 'node:fs'
import { readCatalogue } from '../../src/instance/catalogue.ts'
import type { Scope } from '../../src/instance/model.ts'
import { listenMcp } from '../../src/mcp/http.ts'
import type { McpListener } from '../../src/mcp/http.ts'
import { createMcp } from '../../src/mcp/mcp.ts'
import type { McpOptions } from '../../src/mcp/mcp.ts'
import { EVERYTHING } from '../../src/mcp/mode.ts'
import { engineFixture } from '../engine-fixture.ts'
import type { Fixture } from '../engine-fixture.ts'

/** Every tool that a key with all scopes is shown, in order. */
export const TOOLS = [
  'create-instance',
  'create-snapshot',
  'delete-instance',
  'delete-snapshot',
  'edit-file',
  'exec-command',
  'fork-instance',
  'get-command',
  'get-instance',
  'get-instance-logs',
  'get-instance-metrics',
  'list-file-systems',
  'list-files',
  'list-firewalls',
  'list-images',
  'list-instance-events',
  'list-instance-types',
  'list-instances',
  'list-regions',
  'list-secrets',
  'list-snapshots',
  'read-file',
  'restart-instance',
  'restore-snapshot',
  'start-command',
  'start-instance',
  'stop-command',
  'stop-instance',
  'suspend-instance',
  'update-instance',
  'wait-for-instance',
  'write-file',
]

export const ERAS = ['2026-07-28', '2025'] as const
export type Era = (typeof ERAS)[number]

export interface McpFixture {
  readonly fixture: Fixture
  readonly url: string
  /** The administrator's key of the default project. */
  readonly key: string
  /** What was logged for the audit. */
  readonly audit: readonly Readonly<Record<string, unknown>>[]
  keyWith(scopes: readonly Scope[], project?: string): Promise<string>
  close(): Promise<void>
}

export const catalogue = readCatalogue(JSON.parse(readFileSync(new URL('../../config/catalogue.json', import.meta.url), 'utf8')))

export async function mcpFixture(options: Partial<Pick<McpOptions, 'mode' | 'extension' | 'authenticate'>> = {}): Promise<McpFixture> {
  const fixture = await engineFixture({ catalogue })
  const stopping = new AbortController()
  const audit: Record<string, unknown>[] = []
  const log = {
    info: (details: object) => void audit.push(details as Record<string, unknown>),
    warn: (details: object, message: string) => void audit.push({ warning: message, ...details }),
    debug: () => undefined,
  }
  const mcp = createMcp({
    engine: fixture.engine,
    catalogue,
    authenticate: async secret => (secret === null ? null : fixture.engine.keys.authenticate(secret, 'mcp')),
    version: '0.0.0-test',
    stopping: stopping.signal,
    mode: EVERYTHING,
    log,
    now: Date.now,
    ...options,
  })
  const listener: McpListener = await listenMcp({ mcp, listen: { host: '127.0.0.1', port: 0 }, hostnames: [], log })
  const keyWith = async (scopes: readonly Scope[], project?: string): Promise<string> => {
    const projectId = project === undefined ? undefined : (await fixture.engine.projects.create(fixture.caller, { name: project })).id
    const made = await fixture.engine.keys.create(fixture.caller, { name: scopes.join('-'), scopes, ...(projectId === undefined ? {} : { projectId }) })
    return made.secret
  }
  return {
    fixture,
    url: listener.url,
    key: await keyWith(['read', 'write', 'exec']),
    audit,
    keyWith,
    async close() {
      stopping.abort()
      await listener.close()
      await fixture.close()
    },
  }
}

export interface ConnectOptions {
  readonly headers?: Readonly<Record<string, string>>
}

/** The official client, connected. */
export async function connect(url: string, era: Era, key: string | null, { headers = {} }: ConnectOptions = {}): Promise<Client> {
  const client = new Client({ name: 'test', version: '1' }, { versionNegotiation: { mode: era === '2025' ? 'legacy' : { pin: era } } })
  const authorization = key === null ? {} : { authorization: `Bearer ${key}` }
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: { ...authorization, ...headers } } }))
  return client
}

/** Text of a result, all blocks together. */
export function textOf(result: CallToolResult): string {
  return result.content.map(block => (block.type === 'text' ? block.text : `[${block.type}]`)).join('\n')
}

/** Structured output of a result that is no error. */
export function dataOf<T = Record<string, unknown>>(result: CallToolResult): T {
  if (result.isError === true) throw new Error(`the tool failed: ${textOf(result)}`)
  return result.structuredContent as T
}
