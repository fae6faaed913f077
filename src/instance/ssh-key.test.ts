import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BerthError } from './errors.ts'
import { checkedPublicKey, makeKeyPair, PUBLIC_KEY_LIMIT_CHARACTERS } from './ssh-key.ts'

const ED25519 = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEzzAnTxl6twSZjHUyzd3YYcldFMZbBEfJXSdMANO4P8'

test('a key as ssh-keygen writes it passes, with and without comment, trimmed', () => {
  for (const [given, kept] of [
    [ED25519, ED25519],
    [`${ED25519} me@home`, `${ED25519} me@home`],
    [`  ${ED25519} two words\n`, `${ED25519} two words`],
  ] as const) {
    assert.equal(checkedPublicKey(given), kept)
  }
})

test('what is not one clean line of a known type is refused', () => {
  const refused = [
    '',
    'hello',
    'ssh-ed25519',
    'ssh-ed25519 AAAA',
    `${ED25519}\n${ED25519}`,
    `command="rm" ${ED25519}`,
    `ssh-rsa ${ED25519.split(' ')[1]}`,
    `${ED25519}AAAA`,
    `${ED25519} a\u0007b`,
    'constructor AAAA',
    '-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA',
    `${ED25519} ${'x'.repeat(PUBLIC_KEY_LIMIT_CHARACTERS - ED25519.length)}`,
  ]
  for (const text of refused) {
    assert.throws(() => checkedPublicKey(text), (error: unknown) => error instanceof BerthError && error.code === 'invalid_request', JSON.stringify(text))
  }
  const longest = `${ED25519} ${'x'.repeat(PUBLIC_KEY_LIMIT_CHARACTERS - ED25519.length - 1)}`
  assert.equal(checkedPublicKey(longest), longest)
})

test('a pair that is made here is one that is taken here', async () => {
  const { publicKey, privateKey } = await makeKeyPair('my key')
  assert.equal(checkedPublicKey(publicKey), publicKey)
  assert.match(publicKey, /^ssh-rsa \S+ my-key$/)
  assert.match(privateKey, /^-----BEGIN RSA PRIVATE KEY-----\n/)
})
