import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ID_BYTES, isUuidV4, newId, parseId, parseVolumeId, spellId, spellVolumeId } from './ids.ts'
import type { IdDialect, IdKind } from './ids.ts'
import type { InstanceId, VolumeId } from './model.ts'

const DIALECTS = ['native', 'koyeb', 'lambda', 'mithril', 'hypeman'] as const satisfies readonly IdDialect[]
const KINDS = ['instance', 'project', 'volume', 'key', 'bid', 'reservation'] as const satisfies readonly IdKind[]
const SPELLING: Readonly<Record<IdDialect, RegExp>> = {
  native: /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
  koyeb: /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
  lambda: /^[0-9a-f]{32}$/,
  mithril: /^(inst|proj|vol|apikey|bid|res)_[0-9A-Za-z]{21}$/,
  hypeman: /^[a-z][0-9a-z]{23}$/,
}

const randomBytes = fc.uint8Array({ minLength: ID_BYTES, maxLength: ID_BYTES })
const instanceId = randomBytes.map((bytes) => newId('instance', bytes))
const dialect = fc.constantFrom(...DIALECTS)

test('every id comes back from every spelling, and the spelling has its dialect’s form', () => {
  fc.assert(
    fc.property(randomBytes, fc.constantFrom(...KINDS), dialect, (bytes, kind, to) => {
      const id = newId(kind, bytes)
      const text = spellId(kind, to, id)
      assert.match(text, SPELLING[to])
      assert.equal(parseId(kind, to, text), id)
    }),
  )
})

test('a text that parses is the one spelling of what it parses to', () => {
  const base = (alphabet: string, length: number) =>
    fc.string({ unit: fc.constantFrom(...alphabet), minLength: length, maxLength: length })
  const lower = '0123456789abcdefghijklmnopqrstuvwxyz'
  const texts = fc.oneof(
    base(lower, 24),
    base(`${lower}ABCDEFGHIJKLMNOPQRSTUVWXYZ`, 21).map((body) => `inst_${body}`),
    base('0123456789abcdef', 32),
    fc.uuid({ version: 4 }),
    fc.string(),
  )
  let parsed = 0
  fc.assert(
    fc.property(texts, dialect, (text, from) => {
      const id = parseId('instance', from, text)
      if (id === null) return
      parsed += 1
      assert.equal(spellId('instance', from, id), text)
    }),
    { numRuns: 3000 },
  )
  assert.ok(parsed > 50, `only ${parsed} texts were spellings`)
})

test('two ids never share a spelling', () => {
  fc.assert(
    fc.property(instanceId, instanceId, dialect, (a, b, to) => {
      assert.equal(spellId('instance', to, a) === spellId('instance', to, b), a === b)
    }),
  )
})

test('ids that differ in a single bit anywhere differ in every spelling', () => {
  const zero = new Uint8Array(ID_BYTES)
  for (const to of DIALECTS) {
    const seen = new Set([spellId('instance', to, newId('instance', zero))])
    for (let bit = 0; bit < 128; bit++) {
      const bytes = new Uint8Array(ID_BYTES)
      bytes[bit >> 3] = 1 << (bit & 7)
      seen.add(spellId('instance', to, newId('instance', bytes)))
    }
    assert.equal(seen.size, 1 + 122, `${to}: six bits are fixed, each of the others must show`)
  }
})

test('the smallest and the largest id have fixed-length spellings', () => {
  const smallest = '00000000-0000-4000-8000-000000000000' as InstanceId
  const largest = 'ffffffff-ffff-4fff-bfff-ffffffffffff' as InstanceId
  assert.equal(spellId('instance', 'hypeman', smallest), 'a00000000000000000000000')
  assert.equal(spellId('instance', 'mithril', smallest), 'inst_000000000000000000000')
  assert.equal(spellId('instance', 'lambda', smallest), '00000000000040008000000000000000')
  for (const to of DIALECTS) assert.equal(parseId('instance', to, spellId('instance', to, largest)), largest)
})

test('spellings past the largest id mean nothing', () => {
  assert.equal(parseId('instance', 'hypeman', 'zzzzzzzzzzzzzzzzzzzzzzzz'), null)
  assert.equal(parseId('instance', 'mithril', `inst_${'z'.repeat(21)}`), null)
})

test('near misses mean nothing', () => {
  const id = '2f4b1f0a-6c1c-4c0e-9b42-0a6c3b7f7c11' as InstanceId
  const hypeman = spellId('instance', 'hypeman', id)
  const mithril = spellId('instance', 'mithril', id)
  const misses: readonly (readonly [IdDialect, string])[] = [
    ['native', ''],
    ['native', id.toUpperCase()],
    ['native', ` ${id}`],
    ['native', `${id}\n`],
    ['native', '2f4b1f0a-6c1c-1c0e-9b42-0a6c3b7f7c11'],
    ['native', '2f4b1f0a-6c1c-4c0e-cb42-0a6c3b7f7c11'],
    ['native', id.replaceAll('-', '')],
    ['lambda', id],
    ['lambda', '2f4b1f0a6c1c1c0e9b420a6c3b7f7c11'],
    ['hypeman', hypeman.toUpperCase()],
    ['hypeman', hypeman.slice(0, 23)],
    ['hypeman', `${hypeman}a`],
    ['hypeman', `0${hypeman.slice(1)}`],
    ['mithril', mithril.slice('inst_'.length)],
    ['mithril', mithril.replace('inst_', 'vol_')],
    ['mithril', `${mithril}0`],
    ['mithril', mithril.slice(0, -1)],
    ['mithril', `${mithril.slice(0, -1)}-`],
  ]
  for (const [from, text] of misses) assert.equal(parseId('instance', from, text), null, `${from} ${text}`)
})

test('Hypeman’s and Mithril’s spellings of random ids use every first character about equally', () => {
  const count = 26_000
  const first = { hypeman: new Map<string, number>(), mithril: new Map<string, number>() }
  for (let i = 0; i < count; i++) {
    const id = newId('instance', crypto.getRandomValues(new Uint8Array(ID_BYTES)))
    for (const to of ['hypeman', 'mithril'] as const) {
      const letter = spellId('instance', to, id).replace('inst_', '').charAt(0)
      first[to].set(letter, (first[to].get(letter) ?? 0) + 1)
    }
  }
  assert.equal(first.hypeman.size, 26)
  assert.equal(first.mithril.size, 62)
  // 1000 expected each, standard deviation 31: ten of those never happen by chance.
  for (const [letter, times] of first.hypeman) assert.ok(times > 690 && times < 1310, `${letter}: ${times}`)
})

test('an id is never made of fewer random bytes than it has', () => {
  assert.throws(() => newId('instance', new Uint8Array(15)), RangeError)
  assert.throws(() => spellId('instance', 'hypeman', 'web' as InstanceId), RangeError)
  assert.equal(isUuidV4('web'), false)
})

test('a chosen volume id comes back to Hypeman as it was sent, and no two mean the same volume', () => {
  const uuid = fc.uuid({ version: 4 })
  const text = fc.oneof(
    fc.stringMatching(/^[a-zA-Z0-9_.-]{1,64}$/),
    uuid,
    uuid.map((id) => `_.${id}`),
    uuid.map((id) => spellVolumeId(id as VolumeId)),
    fc.constantFrom('data', '_.', '_._.x'),
  )
  fc.assert(
    fc.property(text, text, (a, b) => {
      assert.equal(spellVolumeId(parseVolumeId(a)), a)
      assert.equal(parseVolumeId(a) === parseVolumeId(b), a === b)
    }),
  )
})

test('a volume’s made id and its Hypeman spelling mean each other', () => {
  fc.assert(
    fc.property(randomBytes, (bytes) => {
      const id = newId('volume', bytes)
      assert.equal(parseVolumeId(spellVolumeId(id)), id)
    }),
  )
})
