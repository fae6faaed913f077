import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { BerthError } from './errors.ts'
import { familiarImageName, parseImageName, pinnedImageName } from './image-name.ts'
import type { ImageDigest } from './model.ts'

const HEX = 'a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4'
const DIGEST = `sha256:${HEX}` as ImageDigest

test('names normalise as Docker normalises them', () => {
  const table: readonly (readonly [string, string, string])[] = [
    ['alpine', 'docker.io/library/alpine:latest', 'alpine:latest'],
    ['alpine:3.18', 'docker.io/library/alpine:3.18', 'alpine:3.18'],
    ['foo/bar', 'docker.io/foo/bar:latest', 'foo/bar:latest'],
    ['ghcr.io/a/b', 'ghcr.io/a/b:latest', 'ghcr.io/a/b:latest'],
    ['localhost:5000/x:1', 'localhost:5000/x:1', 'localhost:5000/x:1'],
    ['localhost/busybox', 'localhost/busybox:latest', 'localhost/busybox:latest'],
    [`alpine@${DIGEST}`, `docker.io/library/alpine@${DIGEST}`, `alpine@${DIGEST}`],
    [`alpine:3.18@${DIGEST}`, `docker.io/library/alpine@${DIGEST}`, `alpine@${DIGEST}`],
    ['docker.io/alpine', 'docker.io/library/alpine:latest', 'alpine:latest'],
    ['index.docker.io/alpine', 'docker.io/library/alpine:latest', 'alpine:latest'],
    ['docker.io/0.0/x', 'docker.io/0.0/x:latest', 'docker.io/0.0/x:latest'],
    ['docker.io/library/a/b', 'docker.io/library/a/b:latest', 'library/a/b:latest'],
    ['Registry/x', 'Registry/x:latest', 'Registry/x:latest'],
    ['registry:5000/x', 'registry:5000/x:latest', 'registry:5000/x:latest'],
    ['[::1]:5000/x', '[::1]:5000/x:latest', '[::1]:5000/x:latest'],
    ['127.0.0.1/a__b.c-d---e_f:V1.2_x', '127.0.0.1/a__b.c-d---e_f:V1.2_x', '127.0.0.1/a__b.c-d---e_f:V1.2_x'],
    [`ghcr.io/${HEX}`, `ghcr.io/${HEX}:latest`, `ghcr.io/${HEX}:latest`],
    ['localhost:5000', 'docker.io/library/localhost:5000', 'localhost:5000'],
    [`x:${'t'.repeat(128)}`, `docker.io/library/x:${'t'.repeat(128)}`, `x:${'t'.repeat(128)}`],
    [`h.io/${'p'.repeat(255)}`, `h.io/${'p'.repeat(255)}:latest`, `h.io/${'p'.repeat(255)}:latest`],
  ]
  for (const [text, name, familiar] of table) {
    const image = parseImageName(text)
    assert.equal(image.name, name)
    assert.equal(familiarImageName(image), familiar)
    assert.equal(image.repository, `${image.domain}/${image.path}`)
  }
})

test('what is not an image name is refused with a reason', () => {
  const table: readonly (readonly [string, RegExp])[] = [
    ['', /it is empty/],
    ['Alpine', /lower-case/],
    ['foo/Bar', /lower-case/],
    ['a b', /must look like/],
    [HEX, /bare digest/],
    ['alpine:', /must look like/],
    ['alpine:.x', /must look like/],
    ['alpine@', /its digest/],
    ['alpine@sha256:abc', /its digest/],
    [`alpine@sha256:${HEX.toUpperCase()}`, /its digest/],
    [`alpine@md5:${HEX}`, /its digest/],
    ['/alpine', /must look like/],
    ['alpine/', /must look like/],
    ['a//b', /must look like/],
    ['../etc/passwd', /must look like/],
    ['https://ghcr.io/a', /must look like/],
    ['-alpine', /must look like/],
    ['a___b', /must look like/],
    ['a..b/c', /must look like/],
    ['alpine\n', /must look like/],
    ['exa mple.com/x', /must look like/],
    [`x:${'t'.repeat(129)}`, /must look like/],
    [`h.io/${'p'.repeat(256)}`, /longer than 255/],
    ['p'.repeat(769), /longer than 768/],
  ]
  for (const [text, reason] of table) {
    assert.throws(
      () => parseImageName(text),
      (error: unknown) => error instanceof BerthError && error.code === 'invalid_image_name' && reason.test(error.message),
      text,
    )
  }
})

test('normalising twice is normalising once, and the familiar form means the same image', () => {
  const component = fc.stringMatching(/^[a-z0-9]{1,5}([._-][a-z0-9]{1,5})?$/)
  const domain = fc.constantFrom('', 'docker.io/', 'index.docker.io/', 'ghcr.io/', 'localhost/', 'localhost:5000/', 'Upper/')
  const suffix = fc.constantFrom('', ':latest', ':1.2', `@${DIGEST}`, `:x@${DIGEST}`)
  const name = fc
    .tuple(domain, fc.array(component, { minLength: 1, maxLength: 4 }), suffix)
    .map(([first, path, last]) => `${first}${path.join('/')}${last}`)
  fc.assert(
    fc.property(name, (text) => {
      const image = parseImageName(text)
      assert.deepEqual(parseImageName(image.name), image)
      assert.deepEqual(parseImageName(familiarImageName(image)), image)
      assert.equal((image.tag === null) !== (image.digest === null), true)
    }),
  )
})

test('any text either has a normal form that is stable or is refused by the catalogue', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'aZ0._-/:@ []'), maxLength: 20 }), (text) => {
      try {
        const image = parseImageName(text)
        assert.equal(parseImageName(image.name).name, image.name)
      } catch (error) {
        assert.ok(error instanceof BerthError && error.code === 'invalid_image_name', String(error))
      }
    }),
    { numRuns: 2000 },
  )
})

test('a name that would make a naive pattern backtrack is refused at once', () => {
  assert.throws(() => parseImageName(`${'a-'.repeat(380)}!`), BerthError)
  assert.throws(() => parseImageName(`${'a.'.repeat(380)}/!`), BerthError)
})

test('a pinned name is the repository at a digest', () => {
  assert.equal(pinnedImageName(parseImageName('alpine:3'), DIGEST), `docker.io/library/alpine@${DIGEST}`)
})
