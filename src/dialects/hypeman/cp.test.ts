import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { unmistakable } from './cp.ts'

function parses(frame: Uint8Array): boolean {
  try {
    const value: unknown = JSON.parse(Buffer.from(frame).toString())
    return typeof value === 'object' && value !== null
  } catch {
    return false
  }
}

const DOCUMENTS = ['{}', '[]', '[[1]]', '{"type":"end","final":true}', '[[1],[2]]', '{"a":[1]}\n', '[', '{', '[[1]', '', 'plain']

for (const document of DOCUMENTS) {
  test(`no frame of a file ${JSON.stringify(document)} can be taken for a message, and no byte is lost`, () => {
    const frames = unmistakable(Buffer.from(document))
    assert.ok(!frames.some(parses))
    assert.equal(Buffer.concat(frames).toString(), document)
  })
}

test('no JSON document survives as one frame', () => {
  fc.assert(
    fc.property(fc.json(), text => {
      const frames = unmistakable(Buffer.from(text))
      return !frames.some(parses) && Buffer.concat(frames).toString() === text
    }),
  )
})

test('no bytes that look like brackets survive as one frame', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom('[', ']', '{', '}', ',', '1', '"a":')), parts => {
      const frames = unmistakable(Buffer.from(parts.join('')))
      return !frames.some(parses) && Buffer.concat(frames).toString() === parts.join('')
    }),
  )
})
