import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { MICROS_PER_CENT, readCatalogue, regionNamed, regionsOf, typeNamed, typesOf } from './catalogue.ts'
import { BerthError } from './errors.ts'

const shipped: unknown = JSON.parse(readFileSync(new URL('../../config/catalogue.json', import.meta.url), 'utf8'))

test('the catalogue that Berth ships is right', () => {
  const catalogue = readCatalogue(shipped)
  assert.equal(typeNamed(catalogue, 'koyeb', 'nano')?.memoryBytes, 256 * 1024 ** 2)
  assert.equal(regionNamed(catalogue, 'lambda', 'us-west-1')?.id, 'home')
  assert.equal(typeNamed(catalogue, 'lambda', 'nano'), null)
  assert.ok(regionsOf(catalogue, 'mithril').length > 0)
})

test('what Lambda and Mithril offer costs whole cents, since their wire has no others', () => {
  const catalogue = readCatalogue(shipped)
  for (const type of [...typesOf(catalogue, 'lambda'), ...typesOf(catalogue, 'mithril')]) {
    assert.equal(type.priceMicrosPerHour % MICROS_PER_CENT, 0, type.id)
  }
})

const region = { id: 'r', description: 'R', names: { koyeb: 'fra' } }
const type = { id: 't', description: 'T', vcpus: 1, memoryMib: 256, diskGib: 1, priceMicrosPerHour: 1, names: { koyeb: 't' } }

const wrongs: readonly (readonly [string, unknown, RegExp])[] = [
  ['no object', [], /catalogue/],
  ['no types', { regions: [region] }, /types/],
  ['the same id twice', { regions: [region], types: [type, type] }, /twice/],
  ['the same name twice', { regions: [region, { ...region, id: 'q' }], types: [] }, /names\.koyeb/],
  ['a dialect that is none', { regions: [{ ...region, names: { aws: 'x' } }], types: [] }, /names\.aws/],
  ['half a vCPU', { regions: [], types: [{ ...type, vcpus: 0.5 }] }, /types\[0\]\.vcpus/],
  ['more shares than CPUs', { regions: [], types: [{ ...type, cpuShares: 2 }] }, /cpuShares/],
  ['a negative price', { regions: [], types: [{ ...type, priceMicrosPerHour: -1 }] }, /price/],
]
for (const [what, value, told] of wrongs) {
  test(`a catalogue with ${what} is refused by the place that is wrong`, () => {
    assert.throws(() => readCatalogue(value), (error) => error instanceof BerthError && error.code === 'invalid_request' && told.test(error.message))
  })
}
