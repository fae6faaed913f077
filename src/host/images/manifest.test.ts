import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BerthError } from '../../instance/errors.ts'
import { choosePlatform, parseDigest, parseImageConfig, parseManifest, parsePlatform, type IndexEntry } from './manifest.ts'

const digest = (digit: string) => `sha256:${digit.repeat(64)}`
const bytes = (value: unknown) => Buffer.from(JSON.stringify(value))

function entry(digit: string, os: string, architecture: string, variant: string | null): IndexEntry {
  const parsed = parseDigest(digest(digit))
  assert.ok(parsed !== null)
  return { digest: parsed, platform: { os, architecture, variant }, refName: null }
}

const refused = (error: unknown) => error instanceof BerthError && error.code === 'invalid_archive'

test('only sha256 and 64 lower-case hex digits are a digest', () => {
  assert.equal(parseDigest(digest('a')), digest('a'))
  for (const wrong of [digest('A'), 'sha256:../../etc/passwd', `sha512:${'a'.repeat(64)}`, `${digest('a')}\n`, `${digest('a')}0`, '', null, 7]) {
    assert.equal(parseDigest(wrong), null)
  }
})

test('the platform is chosen by variant, then without one, then any of the architecture', () => {
  const v6 = entry('6', 'linux', 'arm', 'v6')
  const v7 = entry('7', 'linux', 'arm', 'v7')
  const plain = entry('0', 'linux', 'arm', null)
  const windows = entry('9', 'windows', 'arm', null)
  const unknown = entry('8', 'unknown', 'unknown', null)
  const all = [unknown, windows, v6, v7, plain]
  assert.equal(choosePlatform(all, parsePlatform('linux/arm/v7')), v7)
  assert.equal(choosePlatform(all, parsePlatform('linux/arm')), plain)
  assert.equal(choosePlatform([unknown, v6, v7], parsePlatform('linux/arm')), v6)
  assert.equal(choosePlatform([plain], parsePlatform('linux/arm/v7')), plain)
  assert.equal(choosePlatform([v6], parsePlatform('linux/arm/v7')), null)
  assert.equal(choosePlatform(all, parsePlatform('linux/amd64')), null)
})

test('a platform is os/architecture or os/architecture/variant', () => {
  assert.deepEqual(parsePlatform('linux/arm64/v8'), { os: 'linux', architecture: 'arm64', variant: 'v8' })
  for (const wrong of ['linux', '', 'linux/', '/amd64', 'linux/amd64/v1/x', 'linux/AMD64', 'linux/amd 64']) {
    assert.throws(() => parsePlatform(wrong), (error: unknown) => error instanceof BerthError && error.code === 'invalid_request')
  }
})

test('manifests that are not what they should be are invalid_archive', () => {
  const layer = { digest: digest('1'), size: 5 }
  for (const wrong of [
    Buffer.from('{'),
    Buffer.from('[]'),
    bytes({ manifests: [{ digest: 'sha256:../x' }] }),
    bytes({ manifests: [7] }),
    bytes({ layers: [layer] }),
    bytes({ layers: [{ digest: '../../x' }], config: layer }),
    bytes({ layers: Array.from({ length: 513 }, () => layer), config: layer }),
    Buffer.alloc(8 * 1024 * 1024 + 1, ' '),
  ]) {
    assert.throws(() => parseManifest(wrong), refused)
  }
  assert.equal(parseManifest(bytes({ layers: Array.from({ length: 512 }, () => layer), config: layer })).kind, 'image')
  assert.equal(parseManifest(bytes({ schemaVersion: 1, fsLayers: [] })).kind, 'other')
})

test('a size that is no size counts as unknown', () => {
  for (const size of [-1, 1.5, '7', 2 ** 60, undefined]) {
    const manifest = parseManifest(bytes({ config: { digest: digest('1'), size }, layers: [] }))
    assert.ok(manifest.kind === 'image' && manifest.config.sizeBytes === 0)
  }
})

test('an empty config runs as root in / with nothing to run', () => {
  assert.deepEqual(parseImageConfig(bytes({})), {
    config: { entrypoint: [], cmd: [], env: {}, workingDir: '/', user: '0', stopSignal: null, exposedPorts: [] },
    platform: null,
  })
  assert.throws(() => parseImageConfig(bytes({ config: { Cmd: 'a string' } })), refused)
  assert.throws(() => parseImageConfig(bytes({ config: { Env: [1] } })), refused)
})
