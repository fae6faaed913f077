import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ProjectId } from '../instance/model.ts'
import { secretVariables } from './secrets.ts'

const projectId = 'p' as ProjectId
const variables = (spec: Parameters<typeof secretVariables>[1]['spec'], values: Readonly<Record<string, string>>) => secretVariables({ secretValues: () => Promise.resolve(values) }, { projectId, spec })

test('secrets are variables of their own names, and within the values of others', async () => {
  const values = { A: 'one', b: '$& two' }
  assert.deepEqual(await variables({ secrets: ['A'], secretEnv: { URL: '{{secret.A}}:{{ secret.b }}', PLAIN: '{{ secret. }}' } }, values), { A: 'one', URL: 'one:$& two', PLAIN: '{{ secret. }}' })
  await assert.rejects(variables({ secrets: ['A'] }, {}), { code: 'not_found' })
})

test('a variable that its secrets make longer than Linux takes is refused before it is made, and so are all together', async () => {
  const values = { A: 'x'.repeat(65_535) }
  assert.equal((await variables({ secretEnv: { ONE: '{{secret.A}}' } }, values))['ONE']?.length, 65_535)
  // One such text would be 700 MB.
  await assert.rejects(variables({ secretEnv: { MANY: '{{secret.A}}'.repeat(10_000) } }, values), { code: 'limit_exceeded', message: /variable "MANY" is longer than the 131071 bytes/ })
  const many = Object.fromEntries(Array.from({ length: 16 }, (_, index) => [`K${index}`, '{{secret.A}}']))
  await assert.rejects(variables({ secretEnv: many }, values), { code: 'limit_exceeded', message: /at most 1048576 are allowed/ })
})
