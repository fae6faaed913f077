import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { BerthError } from './errors.ts'
import type { ErrorCode } from './errors.ts'
import type { InstanceId, VolumeAttachment, VolumeId, VolumeMode, VolumeMount } from './model.ts'
import { MAX_VOLUME_DEVICES, MIN_OVERLAY_BYTES, checkMountPath, checkMounts, checkSharing, volumeDevices } from './volume-rules.ts'

const volume = (id: string) => id as VolumeId
const instance = (id: string) => id as InstanceId
const failsWith = (code: ErrorCode) => (error: unknown) => error instanceof BerthError && error.code === code
const mount = (n: number, mode: VolumeMode = 'ro'): VolumeMount => ({
  volumeId: volume(`v${n}`),
  path: `/mnt/v${n}`,
  mode,
  overlayBytes: mode === 'overlay' ? MIN_OVERLAY_BYTES : null,
})
const modes: readonly VolumeMode[] = ['rw', 'ro', 'overlay']

describe('sharing a volume', () => {
  const table: readonly [VolumeMode | null, VolumeMode, boolean][] = [
    [null, 'rw', true], [null, 'ro', true], [null, 'overlay', true],
    ['ro', 'rw', false], ['ro', 'ro', true], ['ro', 'overlay', true],
    ['overlay', 'rw', false], ['overlay', 'ro', true], ['overlay', 'overlay', true],
    ['rw', 'rw', false], ['rw', 'ro', false], ['rw', 'overlay', false],
  ]
  for (const [there, wanted, allowed] of table) {
    it(`${wanted} is ${allowed ? 'allowed' : 'refused'} when another instance has it ${there ?? 'not at all'}`, () => {
      const attachments = there === null ? [] : [{ instanceId: instance('a'), path: '/x', mode: there }]
      const check = () => checkSharing(volume('v'), attachments, { instanceId: instance('b'), mode: wanted })
      if (allowed) check()
      else assert.throws(check, failsWith('volume_conflict'))
    })
  }

  it('whatever is attached one after another, a writer is always alone and nobody has it twice', () => {
    const step = fc.record({ id: fc.constantFrom('a', 'b', 'c', 'd'), mode: fc.constantFrom(...modes), detach: fc.boolean() })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        let attachments: VolumeAttachment[] = []
        for (const { id, mode, detach } of steps) {
          if (detach) {
            attachments = attachments.filter((attachment) => attachment.instanceId !== id)
            continue
          }
          try {
            checkSharing(volume('v'), attachments, { instanceId: instance(id), mode })
            attachments.push({ instanceId: instance(id), path: '/x', mode })
          } catch (error) {
            assert.ok(failsWith('volume_conflict')(error))
          }
          assert.ok(!attachments.some(({ mode: held }) => held === 'rw') || attachments.length === 1)
          assert.equal(new Set(attachments.map(({ instanceId }) => instanceId)).size, attachments.length)
        }
      }),
    )
  })
})

describe('mount paths', () => {
  for (const path of ['/data', '/mnt/a', '/var/lib/postgresql', '/etc/app', '/usr/local', '/usr/share/nginx', '/home/me', '/run/x', '/tmp/x', '/srv', '/opt', '/mnt', '/datà', '/...']) {
    it(`${path} may be a mount`, () => checkMountPath(path))
  }
  for (const path of ['', 'data', './data', '/', '//', '/data/', '/a//b', '/a/./b', '/a/../b', '/..', '/.', '/etc', '/usr', '/var', '/bin', '/proc', '/proc/x', '/sys/fs', '/dev/shm', '/dev', '/a\nb', '/a\0b', `/${'x'.repeat(4095)}`]) {
    it(`${JSON.stringify(path.slice(0, 20))} may not`, () => assert.throws(() => checkMountPath(path), failsWith('invalid_request')))
  }
  it('a path of 4095 bytes is the longest', () => checkMountPath(`/${'x'.repeat(4094)}`))
})

describe('the mounts of one instance', () => {
  it('two volumes at one path are refused', () => {
    assert.throws(() => checkMounts([mount(1), { ...mount(2), path: '/mnt/v1' }]), failsWith('invalid_request'))
  })
  it('one volume at two paths is refused', () => {
    assert.throws(() => checkMounts([mount(1), { ...mount(1), path: '/mnt/other' }]), failsWith('volume_conflict'))
  })
  it('an overlay needs a size, and nothing else may have one', () => {
    assert.throws(() => checkMounts([{ ...mount(1, 'overlay'), overlayBytes: null }]), failsWith('invalid_request'))
    assert.throws(() => checkMounts([{ ...mount(1, 'rw'), overlayBytes: MIN_OVERLAY_BYTES }]), failsWith('invalid_request'))
    assert.throws(() => checkMounts([{ ...mount(1, 'overlay'), overlayBytes: MIN_OVERLAY_BYTES - 1 }]), failsWith('invalid_request'))
    checkMounts([mount(1, 'overlay')])
  })
  it('devices are counted, two for an overlay, up to the limit and no further', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...modes), { maxLength: 30 }), (kinds) => {
        const mounts = kinds.map((mode, n) => mount(n, mode))
        if (volumeDevices(mounts) <= MAX_VOLUME_DEVICES) checkMounts(mounts)
        else assert.throws(() => checkMounts(mounts), failsWith('invalid_request'))
      }),
    )
    checkMounts(Array.from({ length: MAX_VOLUME_DEVICES }, (_, n) => mount(n)))
    assert.throws(() => checkMounts(Array.from({ length: MAX_VOLUME_DEVICES + 1 }, (_, n) => mount(n))), failsWith('invalid_request'))
  })
})
