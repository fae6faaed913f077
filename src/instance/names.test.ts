import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { BerthError } from './errors.ts'
import type { ErrorCode } from './errors.ts'
import {
  ENV_ENTRY_LIMIT_BYTES,
  ENV_LIMIT,
  LABEL_LIMIT_CHARACTERS,
  NAME_LIMIT_CHARACTERS,
  TAG_KEY_LIMIT_CHARACTERS,
  TAG_LIMIT,
  TAG_VALUE_LIMIT_CHARACTERS,
  checkEnv,
  checkHostname,
  checkInstanceName,
  checkLabel,
  checkTags,
  generateName,
} from './names.ts'

function refuses(code: ErrorCode, check: () => void, what: string): void {
  assert.throws(check, (error: unknown) => error instanceof BerthError && error.code === code, what)
}

const many = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, 'v']))

test('an instance name is lower-case letters, digits and inner dashes, up to its limit', () => {
  for (const name of ['a', '0', 'web', 'web-1', 'a--b', '9a', 'a'.repeat(NAME_LIMIT_CHARACTERS)]) checkInstanceName(name)
  for (const name of ['', '-', '-a', 'a-', 'Web', 'a_b', 'a.b', 'a b', 'ä', 'a\n', 'a'.repeat(NAME_LIMIT_CHARACTERS + 1)]) {
    refuses('invalid_name', () => checkInstanceName(name), name)
  }
})

test('a hostname may have dots between labels', () => {
  for (const name of ['web', 'Web-1', 'a.b.c', 'h'.repeat(NAME_LIMIT_CHARACTERS)]) checkHostname(name)
  for (const name of ['', '.', 'a..b', '-a', 'a.', 'a_b', 'a b', 'h'.repeat(NAME_LIMIT_CHARACTERS + 1)]) {
    refuses('invalid_name', () => checkHostname(name), name)
  }
})

test('a label is any visible text up to its limit', () => {
  for (const name of ['data', 'Données 1', '日本', 'x'.repeat(LABEL_LIMIT_CHARACTERS)]) checkLabel('volume', name)
  for (const name of ['', '  ', 'a\nb', 'a\0', '\ud800', 'x'.repeat(LABEL_LIMIT_CHARACTERS + 1)]) {
    refuses('invalid_name', () => checkLabel('volume', name), name)
  }
})

test('tags have Hypeman’s alphabet and limits', () => {
  checkTags({})
  checkTags(many(TAG_LIMIT))
  checkTags({ 'team/a b': 'x=1+2@c:d_e.f-g', empty: '' })
  checkTags({ ['k'.repeat(TAG_KEY_LIMIT_CHARACTERS)]: 'v'.repeat(TAG_VALUE_LIMIT_CHARACTERS) })
  refuses('invalid_request', () => checkTags(many(TAG_LIMIT + 1)), 'too many')
  refuses('invalid_request', () => checkTags({ ['k'.repeat(TAG_KEY_LIMIT_CHARACTERS + 1)]: '' }), 'long key')
  refuses('invalid_request', () => checkTags({ k: 'v'.repeat(TAG_VALUE_LIMIT_CHARACTERS + 1) }), 'long value')
  for (const bad of ['', 'a,b', 'a\n', 'ä', 'a"b']) refuses('invalid_request', () => checkTags({ [bad]: '' }), bad)
  for (const bad of ['a,b', 'a\n', 'ä']) refuses('invalid_request', () => checkTags({ k: bad }), bad)
})

test('an environment is what execve takes', () => {
  checkEnv({})
  checkEnv({ PATH: '/bin', 'odd.name': 'ünï=cödé\n', EMPTY: '' })
  checkEnv(many(ENV_LIMIT))
  checkEnv({ K: 'v'.repeat(ENV_ENTRY_LIMIT_BYTES - 2) })
  refuses('invalid_request', () => checkEnv(many(ENV_LIMIT + 1)), 'too many')
  refuses('invalid_request', () => checkEnv({ K: 'v'.repeat(ENV_ENTRY_LIMIT_BYTES - 1) }), 'entry too long')
  refuses('invalid_request', () => checkEnv({ K: 'é'.repeat(ENV_ENTRY_LIMIT_BYTES / 2) }), 'bytes count, not characters')
  const large = Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`K${i}`, 'v'.repeat(120_000)]))
  refuses('invalid_request', () => checkEnv(large), 'too much')
  for (const key of ['', 'a=b', 'a\0b', '\ud800']) refuses('invalid_request', () => checkEnv({ [key]: '' }), key)
  for (const value of ['\0', '\udfff']) refuses('invalid_request', () => checkEnv({ K: value }), value)
})

test('every generated name is a name, and they are many', () => {
  const below1 = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
  fc.assert(
    fc.property(fc.tuple(below1, below1, below1), (numbers) => {
      let at = 0
      const name = generateName(() => numbers[at++] ?? 0)
      checkInstanceName(name)
      assert.match(name, /^[a-z]+-[a-z]+-[1-9][0-9]{3}$/)
    }),
  )
  const names = new Set(Array.from({ length: 2000 }, () => generateName(Math.random)))
  assert.ok(names.size > 1980, `${names.size} of 2000 differ`)
  const words = new Set(Array.from({ length: 5000 }, () => generateName(Math.random).split('-', 2)).flat())
  assert.ok(words.size > 120, `${words.size} words`)
})
