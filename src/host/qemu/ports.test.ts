import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { VmVolume } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'
import type { VolumeId } from '../../instance/model.ts'
import { VOLUME_PORTS } from './machine.ts'
import { assignPorts, planPorts } from './ports.ts'
import type { PluggedVolume } from './vm-record.ts'

const volume = (name: string, mode: VmVolume['mode'] = 'rw'): VmVolume => ({ volumeId: name as VolumeId, path: `/${name}`, mode, overlayBytes: null })

describe('ports of volumes', () => {
  it('gives each disk a port of its own; an overlay takes two', () => {
    const plan = planPorts([], [volume('a'), volume('b', 'overlay'), volume('c', 'ro')])
    assert.deepEqual(plan.map(({ port, overlayPort }) => [port, overlayPort]), [[0, null], [1, 2], [3, null]])
  })

  it('keeps the ports of what stays, because overlays’ files are named by them', () => {
    const before = planPorts([], [volume('a'), volume('b', 'overlay')])
    const after = planPorts(before, [volume('new'), volume('b', 'overlay')])
    assert.deepEqual(after.map(({ port, overlayPort }) => [port, overlayPort]), [[0, null], [1, 2]])
  })

  it('takes a volume whose mode changed for a new one', () => {
    const before = planPorts([], [volume('a', 'overlay')])
    assert.equal(planPorts(before, [volume('a', 'ro')])[0]?.overlayPort, null)
  })

  it('has room for so many disks and no more', () => {
    let plugged: readonly PluggedVolume[] = []
    for (let index = 0; index < VOLUME_PORTS - 1; index += 1) plugged = [...plugged, assignPorts(plugged, volume(`v${index}`))]
    assert.throws(() => assignPorts(plugged, volume('two', 'overlay')), (error) => error instanceof BerthError && error.code === 'limit_exceeded')
    plugged = [...plugged, assignPorts(plugged, volume('last'))]
    assert.throws(() => assignPorts(plugged, volume('more')), (error) => error instanceof BerthError && error.code === 'limit_exceeded')
  })
})
