import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseEnv, parseKeyValues, parsePort, parseRestart, parseSize, parseTtlMs, parseVolume } from './flags.ts'

test('flags are read as people write them', () => {
  assert.equal(parseSize('-m', '512M'), 512 * 1024 * 1024)
  assert.equal(parseSize('-m', '1.5GiB'), 1.5 * 1024 ** 3)
  assert.deepEqual(parsePort('8080:80'), { hostPort: 8080, guestPort: 80, protocol: 'tcp' })
  assert.deepEqual(parsePort('5353:53/udp'), { hostPort: 5353, guestPort: 53, protocol: 'udp' })
  assert.deepEqual(parseVolume('data:/srv'), { volume: 'data', path: '/srv', mode: 'rw' })
  assert.deepEqual(parseVolume('data:/srv:ro'), { volume: 'data', path: '/srv', mode: 'ro' })
  assert.deepEqual(parseVolume('data:/srv:overlay=1G'), { volume: 'data', path: '/srv', mode: 'overlay', overlayBytes: 1024 ** 3 })
  assert.deepEqual(parseKeyValues('--tag', ['a=b=c', 'd=']), { a: 'b=c', d: '' })
  assert.deepEqual(parseEnv([], ['A=1', 'B', 'C'], { B: 'here' }), { A: '1', B: 'here' })
  assert.equal(parseTtlMs('7d'), 7 * 86_400_000)
  assert.equal(parseTtlMs('1h30m'), 5_400_000)
  assert.deepEqual(parseRestart('on-failure:3'), { policy: 'on-failure', maxAttempts: 3 })
  assert.deepEqual(parseRestart('no'), { policy: 'never' })
})

const BAD: readonly (readonly [string, () => unknown])[] = [
  ['a size in bits', () => parseSize('-m', '4Gb')],
  ['a negative size', () => parseSize('-m', '-1')],
  ['a port of 0', () => parsePort('0:80')],
  ['a port past 65535', () => parsePort('1:65536')],
  ['a port alone', () => parsePort('80')],
  ['a volume without a path', () => parseVolume('data')],
  ['a volume on a relative path', () => parseVolume('data:srv')],
  ['a volume in an unknown mode', () => parseVolume('data:/srv:rx')],
  ['a tag without a value', () => parseKeyValues('--tag', ['a'])],
  ['a variable without a name', () => parseEnv([], ['=1'], {})],
  ['an env file that is not there', () => parseEnv(['/nonexistent/env'], [], {})],
  ['a duration without a unit', () => parseTtlMs('5')],
  ['no duration at all', () => parseTtlMs('0s')],
  ['attempts of always', () => parseRestart('always:3')],
]
for (const [name, read] of BAD) {
  test(`${name} is a usage error of one sentence`, () => {
    assert.throws(read, (error: Error & { status?: number }) => error.status === 2 && /[.]$/.test(error.message))
  })
}
