import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BerthError, type ErrorCode } from '../../instance/errors.ts'
import { imageFailure } from './image-failure.ts'
import { ToolFailure } from './tool.ts'

const NAME = 'docker.io/library/denied:404'

/** As skopeo says it. */
const SAID: readonly (readonly [string, ErrorCode])[] = [
  [`Error parsing image name \\"docker://${NAME}\\": reading manifest 404 in docker.io/library/denied: manifest unknown`, 'image_not_found'],
  [`reading manifest 404 in docker.io/library/denied: errors:\\ndenied: requested access to the resource is denied\\nunauthorized: authentication required`, 'registry_denied'],
  [`Requesting bearer token: invalid status code from registry 403 (Forbidden)`, 'registry_denied'],
  [`unable to retrieve auth token: invalid username/password: unauthorized: incorrect username or password`, 'registry_denied'],
  [`reading manifest 404 in docker.io/library/denied: toomanyrequests: You have reached your pull rate limit. https://www.docker.com/increase-rate-limit`, 'rate_limited'],
  [`pinging container registry 127.0.0.1:1: Get \\"http://127.0.0.1:1/v2/\\": dial tcp 127.0.0.1:1: connect: connection refused`, 'registry_unreachable'],
  [`pinging container registry x.invalid: Get \\"https://x.invalid/v2/\\": dial tcp: lookup x.invalid: no such host`, 'registry_unreachable'],
  [`pinging container registry r.lan: Get \\"https://r.lan/v2/\\": http: server gave HTTP response to HTTPS client`, 'registry_unreachable'],
  [`Get \\"https://r.lan/v2/\\": x509: certificate signed by unknown authority`, 'registry_unreachable'],
  [`Get \\"https://registry-1.docker.io/v2/library/denied/blobs/sha256:00\\": dial tcp 10.0.0.1:443: i/o timeout`, 'registry_unreachable'],
  [`writing blob: storing blob to file \\"/d/oci-put-blob1\\": happened during read: unexpected EOF`, 'registry_unreachable'],
  [`reading blob sha256:00: fetching blob: received unexpected HTTP status: 503 Service Unavailable`, 'registry_unreachable'],
  [`writing blob: Digest did not match, expected sha256:00, got sha256:11`, 'invalid_archive'],
  [`writing blob: storing blob to file \\"/d/oci-put-blob1\\": write /d/oci-put-blob1: no space left on device`, 'disk_full'],
  [`something nobody has seen before`, 'image_failed'],
]

for (const [message, code] of SAID) {
  test(`${message.slice(0, 80)} is ${code}`, () => {
    const failure = imageFailure('pull', NAME, new ToolFailure('skopeo', 'exit', 'exit status 1', `time="…" level=fatal msg="${message}"`))
    assert.equal(failure.code, code)
    assert.match(failure.message, /^[^\n]{10,250}\.$/)
    assert.ok(failure.cause instanceof ToolFailure)
  })
}

test('an abort tells its own reason where it has one', () => {
  const full = new BerthError('disk_full', 'Full.')
  assert.equal(imageFailure('pull', NAME, new ToolFailure('skopeo', 'aborted', 'was told to stop', '', full)), full)
  assert.equal(imageFailure('pull', NAME, new ToolFailure('skopeo', 'aborted', 'was told to stop', '')).code, 'cancelled')
})

test('a deadline is the registry\'s while pulling and a timeout while unpacking', () => {
  const late = new ToolFailure('x', 'deadline', 'took too long', '')
  assert.equal(imageFailure('pull', NAME, late).code, 'registry_unreachable')
  assert.equal(imageFailure('unpack', NAME, late).code, 'timeout')
})

test('what unpacking and importing say is about the archive, but for the disk', () => {
  const broken = new ToolFailure('umoci', 'exit', 'exit status 1', 'create rootfs: read next entry: unexpected EOF')
  assert.equal(imageFailure('unpack', NAME, broken).code, 'invalid_archive')
  assert.equal(imageFailure('import', NAME, broken).code, 'invalid_archive')
  const full = new ToolFailure('umoci', 'exit', 'exit status 1', 'write /x: no space left on device')
  assert.equal(imageFailure('unpack', NAME, full).code, 'disk_full')
  assert.equal(imageFailure('unpack', NAME, Object.assign(new Error('x'), { code: 'ENOSPC' })).code, 'disk_full')
})
