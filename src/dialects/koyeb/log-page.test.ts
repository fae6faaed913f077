/** Pages of logs, followed as Koyeb's clients follow them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { firstPage } from './log-page.ts'

interface Line {
  readonly at: number
  readonly text: string
}
/** As Go writes a time into a query. */
const inSeconds = (at: number) => Math.floor(at / 1000) * 1000
const exactly = (at: number) => at

/** All that a client reads that follows the pages and sends times back in its own way. */
function follow(all: readonly Line[], order: 'asc' | 'desc', limit: number, send: (at: number) => number): readonly string[] {
  let span = { start: 0, end: 1_000_000 }
  const read: string[] = []
  for (let turn = 0; turn <= all.length; turn++) {
    const { start, end } = span
    const { lines, next } = firstPage(all.filter(line => line.at >= start && line.at <= end), order, limit, span)
    read.push(...lines.map(line => line.text))
    if (next === null) return read
    span = { start: send(next.start), end: send(next.end) }
  }
  throw new Error('it never ends')
}

const lines = fc.array(fc.integer({ min: 1, max: 20_000 }), { maxLength: 200 }).map(times => times.map((at, index) => ({ at: at / 2, text: String(index) })))

test('every line is read once, whether times come back whole or in seconds', () => {
  fc.assert(
    fc.property(lines, fc.constantFrom('asc', 'desc'), fc.integer({ min: 1, max: 50 }), fc.constantFrom(exactly, inSeconds), (all, order, limit, send) => {
      const read = follow(all, order, limit, send)
      assert.deepEqual(read.toSorted(), all.map(line => line.text).toSorted())
    }),
  )
})

test('a burst within one second is one page, and a page is no longer than asked for otherwise', () => {
  const burst = Array.from({ length: 250 }, (_, index) => ({ at: 5000 + index, text: String(index) }))
  assert.equal(firstPage(burst, 'asc', 100, { start: 0, end: 9000 }).lines.length, 250)
  const spread = Array.from({ length: 250 }, (_, index) => ({ at: 1000 * index + 1, text: String(index) }))
  const { lines: page, next } = firstPage(spread, 'desc', 100, { start: 0, end: 1e6 })
  assert.deepEqual([page.length, next], [100, { start: 0, end: 150_000 }])
  assert.equal(firstPage([], 'asc', 100, { start: 0, end: 1 }).next, null)
})
