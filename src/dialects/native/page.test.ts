import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pageOf, readCursor } from './page.ts'
import type { Page } from './page.ts'

interface Row {
  readonly at: number
  readonly id: string
}
const key = ({ at, id }: Row) => [at, id] as const
const rows = (...ats: readonly number[]): Row[] => ats.map((at) => ({ at, id: `id-${at}` }))

function walk(lists: readonly (readonly Row[])[], direction: 'ascending' | 'descending', limit: number): number[] {
  const seen: number[] = []
  let cursor: string | undefined
  for (let at = 0; ; at += 1) {
    const page: Page<Row> = pageOf(lists[Math.min(at, lists.length - 1)] ?? [], { limit, cursor }, key, direction)
    seen.push(...page.items.map((row) => row.at))
    if (page.next === null) return seen
    cursor = page.next
  }
}

test('pages tell each item once, and the last page says so', () => {
  assert.deepEqual(walk([rows(1, 2, 3, 4, 5)], 'ascending', 2), [1, 2, 3, 4, 5])
  assert.deepEqual(walk([rows(1, 2, 3, 4)], 'ascending', 2), [1, 2, 3, 4])
  assert.deepEqual(walk([[]], 'ascending', 2), [])
})

test('what is made between two pages of newest-first repeats nothing', () => {
  assert.deepEqual(walk([rows(4, 3, 2, 1), rows(6, 5, 4, 3, 2, 1)], 'descending', 2), [4, 3, 2, 1])
})

test('what is deleted between two pages hides nothing, even the item that the cursor names', () => {
  assert.deepEqual(walk([rows(1, 2, 3, 4), rows(3, 4)], 'ascending', 2), [1, 2, 3, 4])
})

test('a text that is no cursor is refused', () => {
  for (const text of ['', 'x', 'e30', Buffer.from('[1]').toString('base64url'), Buffer.from('[{},"a"]').toString('base64url')]) {
    assert.throws(() => readCursor(text), { code: 'invalid_request' }, text)
  }
})
