import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { withTools } from '../scripts/mcp-reference.ts'
import { TOOLSETS } from '../src/mcp/mode.ts'

const page = readFileSync(new URL('../docs/mcp.md', import.meta.url), 'utf8')

test('the table of docs/mcp.md is what the tools say', () => {
  assert.equal(page, withTools(page), 'run node scripts/mcp-reference.ts')
})

test('docs/mcp.md names every toolset', () => {
  for (const set of [...TOOLSETS, 'core', 'all']) assert.ok(page.includes(`\`${set}\``), set)
})
