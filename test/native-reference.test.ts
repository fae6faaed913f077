import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { nativeDocument, referencePage } from '../scripts/native-reference.ts'

test('docs/native-api.md is what the routes say', async () => {
  const page = readFileSync(new URL('../docs/native-api.md', import.meta.url), 'utf8')
  assert.equal(page, await referencePage(), 'run node scripts/native-reference.ts')
})

test('every operation has a name of its own, a summary, and says how it fails', async () => {
  const names = new Set<string>()
  for (const [path, methods] of Object.entries((await nativeDocument()).paths)) {
    for (const [method, { operationId, summary, responses }] of Object.entries(methods)) {
      assert.ok(operationId !== '' && !names.has(operationId), `${method} ${path}`)
      names.add(operationId)
      assert.ok(summary !== undefined, operationId)
      assert.ok('default' in responses, operationId)
    }
  }
})
