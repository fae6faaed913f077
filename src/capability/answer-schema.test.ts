import assert from 'node:assert/strict'
import { test } from 'node:test'
import { requireSchema, schemaFault } from './answer-schema.ts'

test('a schema that no answer could be held to is told before there is one', () => {
  const faults = [
    [{ $ref: 'other.json#/a' }, /another document/],
    [{ items: { $ref: '#/components/schemas/Item' } }, /refers to "#\/components\/schemas\/Item", which is not in it/],
    [{ $ref: '#' }, /leads back to itself/],
    [{ $defs: { a: { $ref: '#/$defs/b' }, b: { $ref: '#/$defs/a' } }, $ref: '#/$defs/a' }, /leads back to itself/],
    [{ patternProperties: { '(': {} } }, /no regular expression/],
    [{ properties: { a: { pattern: '(' } } }, /no regular expression/],
    [{ type: 'text' }, /doesn't know/],
  ] as const
  for (const [schema, why] of faults) assert.match(schemaFault(schema) ?? '', why)
})

test('a schema may refer to its own parts, and to itself below', () => {
  const schema = { $defs: { 'a/b': { type: 'integer' } }, type: 'object', properties: { n: { $ref: '#/$defs/a~1b' }, inner: { $ref: '#' } } }
  assert.equal(schemaFault(schema), null)
  requireSchema({ n: 1, inner: { n: 2 } }, schema, 200)
  assert.throws(() => requireSchema({ inner: { n: 'x' } }, schema, 200), { code: 'upstream_error' })
})
