import assert from 'node:assert/strict'
import { test } from 'node:test'
import Ajv from 'ajv/dist/2020.js'
import fc from 'fast-check'
import { z } from 'zod'
import { shortened } from './advertised.ts'

test('what says nothing is left out, also below; what is a property’s name stays', () => {
  const schema = z.strictObject({ format: z.int(), maximum: z.string().nullable(), list: z.array(z.strictObject({ at: z.int().nullable() })).nullable(), when: z.iso.datetime() })
  assert.deepEqual(shortened(z.toJSONSchema(schema)), {
    type: 'object',
    properties: {
      format: { type: 'integer' },
      maximum: { type: ['string', 'null'] },
      list: { type: ['array', 'null'], items: { type: 'object', properties: { at: { type: ['integer', 'null'] } }, required: ['at'], additionalProperties: false } },
      when: { type: 'string', format: 'date-time' },
    },
    required: ['format', 'maximum', 'list', 'when'],
    additionalProperties: false,
  })
})

test('a value is valid by the short schema exactly where it is by the long one', () => {
  const schema = z.strictObject({
    a: z.int().min(1).max(5).nullable().optional(),
    b: z.enum(['x', 'y']).nullable().optional(),
    c: z.strictObject({ d: z.string().max(1).nullable() }).nullable().optional(),
    e: z.record(z.string(), z.boolean()).optional(),
  })
  const long = z.toJSONSchema(schema)
  const ajv = new Ajv.default({ strict: false })
  const [before, after] = [ajv.compile(long), ajv.compile(shortened(long) as object)]
  const some = fc.oneof(fc.constantFrom(null, 'x', 'xx', true, 0, 1, 6, {}), fc.record({ d: fc.constantFrom(null, 'x', 'xx', 1) }), fc.dictionary(fc.string(), fc.constantFrom(true, 1)))
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom('a', 'b', 'c', 'e', 'f'), some), value => before(value) === after(value)),
    { numRuns: 500 },
  )
})
