import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CreateInstanceBody, ListInstancesQuery, UpdateInstanceBody } from './schema/instance-requests.ts'
import { validatorCompiler } from './validation.ts'

type Outcome = { value?: unknown; error?: Error & { details?: unknown } }
const check = (schema: object, httpPart: string, given: unknown) =>
  (validatorCompiler({ schema: schema as never, httpPart, method: 'GET', url: '/' }) as (value: unknown) => Outcome)(given)

test('queries are read from text: numbers, booleans, one value as a list', () => {
  const { value } = check(ListInstancesQuery, 'querystring', { limit: '5', deleted: 'true', phase: 'running', tag: ['a=1', 'b=2'] })
  assert.deepEqual(value, { limit: 5, deleted: true, phase: ['running'], tag: ['a=1', 'b=2'] })
})

const BAD: readonly (readonly [string, object, string, unknown, RegExp, string?])[] = [
  ['an unknown field', CreateInstanceBody, 'body', { image: 'x', memroyBytes: 1 }, /no field "memroyBytes"/, 'memroyBytes'],
  ['an unknown nested field', CreateInstanceBody, 'body', { image: 'x', network: { port: [] } }, /no field "network.port"/, 'network.port'],
  ['a missing field', CreateInstanceBody, 'body', {}, /"image" is missing/, 'image'],
  ['a wrong type', CreateInstanceBody, 'body', { image: 'x', vcpus: '2' }, /"vcpus" must be integer/, 'vcpus'],
  ['a number out of range', CreateInstanceBody, 'body', { image: 'x', network: { ports: [{ hostPort: 0, guestPort: 1 }] } }, /hostPort" must be >= 1/],
  ['a wrong word', CreateInstanceBody, 'body', { image: 'x', pull: 'often' }, /must be one of never, missing/, 'pull'],
  ['no object', CreateInstanceBody, 'body', [], /body must be object/],
  ['no body', CreateInstanceBody, 'body', undefined, /body must be object/],
  ['an empty change', UpdateInstanceBody, 'body', {}, /The body must/],
  ['text for a number', ListInstancesQuery, 'querystring', { limit: 'many' }, /"limit" must be integer/, 'limit'],
  ['an unknown parameter', ListInstancesQuery, 'querystring', { state: 'x' }, /no parameter "state"/, 'state'],
  ['a wrong word in a list', ListInstancesQuery, 'querystring', { phase: ['running', 'happy'] }, /must be one of pending/],
]
for (const [name, schema, part, given, says, field] of BAD) {
  test(`${name} is told in one sentence`, () => {
    const { error } = check(schema, part, given)
    assert.match(error?.message ?? '', says)
    assert.equal((error as { code?: string } | undefined)?.code, 'invalid_request')
    if (field !== undefined) assert.deepEqual(error?.details, { field })
  })
}
