import assert from 'node:assert/strict'
import { test } from 'node:test'
import { QUOTE_LIMIT_CHARACTERS, quoteGo } from './go-text.ts'

test('text is quoted as Go’s strconv.Quote does', () => {
  const table: readonly (readonly [string, string])[] = [
    ['abc', '"abc"'],
    ['', '""'],
    ['a"b\\c', '"a\\"b\\\\c"'],
    ['\u0007\b\f\n\r\t\v', '"\\a\\b\\f\\n\\r\\t\\v"'],
    ['\u0000\u001b\u007f', '"\\x00\\x1b\\x7f"'],
    ['größe ☃ 日本', '"größe ☃ 日本"'],
    ['\u00a0\u200b\ufeff', '"\\u00a0\\u200b\\ufeff"'],
    ['😀', '"😀"'],
    ['\u{10ffff}', '"\\U0010ffff"'],
    ['\ud800', '"�"'],
  ]
  for (const [text, quoted] of table) assert.equal(quoteGo(text), quoted)
})

test('a long text is cut at its limit', () => {
  assert.equal(quoteGo('x'.repeat(QUOTE_LIMIT_CHARACTERS)).length, QUOTE_LIMIT_CHARACTERS + 2)
  assert.equal(quoteGo('x'.repeat(QUOTE_LIMIT_CHARACTERS + 1)), `"${'x'.repeat(QUOTE_LIMIT_CHARACTERS)}…"`)
})
