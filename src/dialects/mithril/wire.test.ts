import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { PHASES } from '../../instance/phase.ts'
import type { Page } from './cursor.ts'
import { pageOf } from './cursor.ts'
import { formatMoney, parseMoney } from './money.ts'
import { phasesOf, statusOf } from './present.ts'
import { INSTANCE_STATUSES } from './schema.ts'
import { formatTime, parseTime } from './time.ts'
import { Fields, ValidationError } from './validation.ts'

test('every phase has one of the thirteen statuses', () => {
  for (const phase of PHASES) {
    assert.ok(INSTANCE_STATUSES.includes(statusOf(phase)), phase)
    assert.ok(phasesOf([statusOf(phase)]).includes(phase))
  }
})

test('prices are read as clients write them, in whole cents', () => {
  for (const [text, cents] of [
    ['$32.00', 3200],
    ['$0.01', 1],
    ['25.6', 2560],
    ['$1', 100],
    [' $ 7.50 ', 750],
    ['$0', 0],
    ['$1.2300', 123],
    ['$1.234', null],
    ['$-1', null],
    ['-$1', null],
    ['', null],
    ['$', null],
    ['1e3', null],
    ['€5', null],
    ['$1,000', null],
    ['$999999999', null],
  ] as const) {
    assert.equal(parseMoney(text), cents, text)
  }
  fc.assert(fc.property(fc.integer({ min: 0, max: 100_000_000 }), cents => parseMoney(formatMoney(cents)) === cents))
})

test('times that are written are read back the same, and have no or six digits', () => {
  assert.equal(formatTime(Date.UTC(2024, 0, 1)), '2024-01-01T00:00:00Z')
  assert.equal(formatTime(Date.UTC(2024, 0, 1) + 5.25), '2024-01-01T00:00:00.005250Z')
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 4e12 }), micros => {
      const text = formatTime(micros / 1000)
      assert.match(text, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{6})?Z$/)
      const parsed = parseTime(text)
      return 'atMs' in parsed && Math.abs(parsed.atMs - micros / 1000) < 0.002
    }),
  )
})

test('pages of any size hold every row once, in order, whatever the rows are', () => {
  const row = fc.record({ value: fc.oneof(fc.integer({ min: 0, max: 5 })), id: fc.uuid() })
  fc.assert(
    fc.property(fc.uniqueArray(row, { selector: one => one.id, maxLength: 30 }), fc.integer({ min: 1, max: 7 }), fc.constantFrom('asc', 'desc'), (rows, limit, direction) => {
      const ask = (cursor: string | null, size: number): Page<(typeof rows)[number]> =>
        pageOf({ rows, sortValue: one => one.value, id: one => one.id, direction, limit: size, cursor })
      const seen: string[] = []
      for (let page = ask(null, limit); ; page = ask(page.next_cursor, limit)) {
        seen.push(...page.rows.map(one => one.id))
        if (page.next_cursor === null) break
        assert.equal(page.rows.length, limit)
      }
      assert.deepEqual(seen, ask(null, 100).rows.map(one => one.id))
      assert.equal(seen.length, rows.length)
    }),
  )
})

test('a row that goes between two pages takes none of the others with it', () => {
  const rows = ['a', 'b', 'c', 'd'].map((id, index) => ({ id, value: index }))
  const ask = (some: typeof rows, cursor: string | null) => pageOf({ rows: some, sortValue: one => one.value, id: one => one.id, direction: 'asc', limit: 2, cursor })
  const first = ask(rows, null)
  assert.deepEqual(ask(rows.filter(one => one.id !== 'b'), first.next_cursor).rows.map(one => one.id), ['c', 'd'])
})

test('no value of a body can do more than be told as a problem', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom('text', 'integer', 'flag', 'choice', 'time', 'cents', 'texts', 'object'), fc.jsonValue()), values => {
      const fields = new Fields(['body'], values)
      const { required } = fields
      fields.text('text')
      required.text('text', { minLength: 1, limit: 3, pattern: /^a/ })
      required.integer('integer', { minimum: 1, maximum: 9 })
      required.flag('flag')
      required.choice('choice', ['a', 'b'])
      required.time('time')
      required.cents('cents')
      required.texts('texts', { limit: 2, as: 'set', minItems: 1 })
      required.object('object').required.text('inner')
      fields.words('text')
      try {
        fields.finish()
      } catch (error) {
        assert.ok(error instanceof ValidationError)
        for (const { loc, msg, type } of error.issues) assert.ok(loc[0] === 'body' && msg !== '' && type !== '')
      }
    }),
  )
})
