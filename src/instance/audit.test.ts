import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AUDIT_ARGV_LIMIT_WORDS, AUDIT_WORD_LIMIT_CHARACTERS, auditArgv, auditWord } from './audit.ts'

test('a command at the limits is kept whole, and one past them is cut and says so', () => {
  const words = Array.from({ length: AUDIT_ARGV_LIMIT_WORDS }, (_, index) => `w${index}`)
  assert.deepEqual(auditArgv(words), words)
  assert.deepEqual(auditArgv([...words, 'more']), [...words, '…'])
  const long = 'x'.repeat(AUDIT_WORD_LIMIT_CHARACTERS)
  assert.equal(auditWord(long), long)
  assert.equal(auditWord(`${long}y`), `${long}…`)
})

test('a character of two code units is not cut in two', () => {
  const word = `${'x'.repeat(AUDIT_WORD_LIMIT_CHARACTERS - 1)}😀`
  assert.equal(auditWord(word), `${'x'.repeat(AUDIT_WORD_LIMIT_CHARACTERS - 1)}…`)
})
