import assert from 'node:assert/strict'
import { test } from 'node:test'
import { quantityOf } from './orders.ts'

test('--quantity takes 1 to 256, for bids as for reservations', () => {
  assert.deepEqual(quantityOf(undefined), {})
  assert.deepEqual([quantityOf('1'), quantityOf('256')], [{ quantity: 1 }, { quantity: 256 }])
  for (const text of ['0', '257', '300']) assert.throws(() => quantityOf(text), new RegExp(`--quantity takes 1 to 256, not "${text}"\\.`))
  for (const text of ['', '-1', '1.5', 'two']) assert.throws(() => quantityOf(text), /is not a whole number/)
})
