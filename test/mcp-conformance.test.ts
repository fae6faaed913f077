/** The official conformance suite, both revisions, against Berth's own endpoint with the fixtures that it calls. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { Caller } from '../src/engine/api.ts'
import { SCOPES } from '../src/instance/model.ts'
import { conformanceFixtures } from './support/mcp-conformance.ts'
import { mcpFixture } from './support/mcp.ts'
import type { McpFixture } from './support/mcp.ts'

const PACKAGE = new URL('../node_modules/@modelcontextprotocol/conformance/', import.meta.url)
const SUITE = fileURLToPath(new URL('dist/index.js', PACKAGE))
const SUITE_LIMIT_MS = 120_000
const TAIL_CHARACTERS = 6000

let mcp: McpFixture
let results: string
before(async () => {
  results = await mkdtemp(join(tmpdir(), 'berth-conformance-'))
  let caller: Caller | null = null
  // The suite can send no key: here, and only here, whoever comes is let in.
  mcp = await mcpFixture({ extension: conformanceFixtures, authenticate: async () => caller })
  caller = { ...mcp.fixture.caller, scopes: SCOPES }
})
after(async () => {
  await mcp.close()
  await rm(results, { recursive: true, force: true })
})

for (const revision of ['2025-11-25', '2026-07-28']) {
  test(`every scenario that ${revision} requires of a server passes`, { timeout: SUITE_LIMIT_MS }, async () => {
    const child = spawn(process.execPath, [SUITE, 'server', '--url', mcp.url, '--requirements', revision, '-o', join(results, revision)], { stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (chunk: string) => (output += chunk))
    const [status] = (await once(child, 'close')) as [number | null]
    assert.equal(status, 0, output.slice(-TAIL_CHARACTERS))
    const passed = new Set([...output.matchAll(/^✓ ([a-z0-9-]+): [1-9]\d* passed, 0 failed/gm)].map(([, scenario]) => scenario))
    const required = requiredScenarios(revision)
    assert.ok(required.length >= 30, 'the suite names its scenarios in another way')
    assert.deepEqual(required.filter(scenario => !passed.has(scenario)), [])
  })
}

/** The frozen list of what the revision requires: the `server:` part of its file. */
function requiredScenarios(revision: string): readonly string[] {
  const file = readFileSync(new URL(`requirements/${revision}.yaml`, PACKAGE), 'utf8')
  const part = /^server:\n([\s\S]*?)^\S/m.exec(file)?.[1] ?? ''
  return [...part.matchAll(/^ {2}- (\S+)$/gm)].flatMap(([, scenario]) => scenario ?? [])
}
