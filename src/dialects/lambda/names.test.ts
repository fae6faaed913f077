import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkInstanceName } from '../../instance/names.ts'
import { imageId } from './catalog.ts'
import { engineName } from './launch.ts'
import { secretsOf } from './surface.ts'

const basic = (text: string) => Buffer.from(text).toString('base64')

test('a header means the secrets that its form can mean', () => {
  for (const [header, secrets] of [
    ['Bearer k', ['k']],
    ['  bearer   k ', ['k']],
    [`Basic ${basic('k:')}`, ['k', basic('k:')]],
    [`Basic ${basic('k:password')}`, [basic('k:password')]],
    [`Basic ${basic(':')}`, [basic(':')]],
    ['Basic k', ['k']],
    ['Digest k', []],
    ['Bearer', []],
    ['Bearer a b', []],
    [undefined, []],
  ] as const) {
    assert.deepEqual(secretsOf(header), secrets, header)
  }
})

test('ids of images are UUIDs that follow from name and content', () => {
  const image = { name: 'a', digest: null }
  assert.match(imageId(image), /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/)
  assert.equal(imageId(image), imageId({ ...image }))
  assert.notEqual(imageId(image), imageId({ ...image, name: 'b' }))
})

test('any name becomes one that the engine takes', () => {
  for (const name of [null, '', 'web', 'My Instance', '--', 'Zwölf 🦊', 'n'.repeat(64), `${'n'.repeat(47)}--x`]) {
    const made = engineName(name, '0123456789abcdef0123456789abcdef')
    checkInstanceName(made)
    assert.match(made, /-01234567$/)
  }
})
