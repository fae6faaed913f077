import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inFlagWords } from './flag-words.ts'

test('a refusal that begins with a field of the API names the flag instead', () => {
  assert.equal(inFlagWords('memoryBytes is 4 TiB; at most 32 GiB is allowed.', 'memoryBytes'), '--memory is 4 TiB; at most 32 GiB is allowed.')
  assert.equal(inFlagWords('The field "vcpus" must be >= 1.', 'vcpus'), '--cpus must be >= 1.')
})

test('a refusal without a field, of another field, or that begins otherwise is left as it is', () => {
  for (const [sentence, field] of [
    ['There is no instance "web".', undefined],
    ['stopGraceMs must be at least 0, not -1.', 'stopGraceMs'],
    ['There is no type "huge".', 'type'],
    ['memoryBytes and hotplugBytes together is 4 TiB.', 'memoryBytes and hotplugBytes together'],
    ['users are many.', 'user'],
  ] as const) assert.equal(inFlagWords(sentence, field), sentence)
})
