import assert from 'node:assert/strict'
import { test } from 'node:test'
import { lastLine, plain, shortened } from './text.ts'

for (const [given, wanted] of [
  ['plain\ttext\n', 'plain\ttext\n'],
  ['\u001b[31mred\u001b[0m', 'red'],
  ['\u001b]0;title\u0007after', 'after'],
  ['\u001b]8;;http://evil\u001b\\link\u001b]8;;\u001b\\', 'link'],
  ['\u001b(Bx\u001bcy', 'xy'],
  ['\u009b2Jz', 'z'],
  ['a\r\nb\rc\u0000\u0008d', 'a\nbcd'],
  ['abc\u202edef\u{e0041}', 'abcdef'],
  ['\u001b[', ''],
] as const) {
  test(`no terminal obeys what is left of ${JSON.stringify(given)}`, () => assert.equal(plain(given), wanted))
}

test('the last line that says something, and long text with a note', () => {
  assert.equal(lastLine(Buffer.from('one\n\u001b[1mtwo\u001b[0m\n\n')), 'two')
  assert.equal(shortened('abcdef', 3), 'abc\n[… 3 characters more]')
  assert.equal(shortened('abc', 3), 'abc')
})
