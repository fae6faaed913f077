import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { blockNodeNames, blockNodes, identityMismatch, machineArgs, VOLUME_PORTS, type MachineIdentity, type MachineSpec } from './machine.ts'

const spec: MachineSpec = {
  name: 'lab',
  accelerator: 'tcg',
  vcpus: 2,
  memoryBytes: 268435456,
  memoryPath: '/data/a,b/memory',
  kernelPath: '/guest/vmlinuz',
  initramfsPath: '/guest/initramfs.gz',
  root: '/data/root.erofs',
  overlay: '/data/overlay.ext4',
  volumes: [],
  diskIoBytesPerSecond: null,
  network: { kind: 'tap', mac: '02:be:0a:00:00:0a', tap: 'bt-1' },
  qmpSocket: '/run/qmp',
  agentSocket: '/run/agent',
  appLog: '/data/app.log',
  consoleLog: '/data/console.log',
  incoming: false,
}

/** The values of an option, in order. */
function valuesOf(args: readonly string[], option: string): string[] {
  return args.flatMap((arg, index) => (arg === option ? [args[index + 1] ?? ''] : []))
}

function devicesOf(args: readonly string[]): string[] {
  return valuesOf(args, '-device').map((value) => (value.startsWith('{') ? String(JSON.parse(value).id) : (/id=([^,]+)/.exec(value)?.[1] ?? value)))
}

describe('machineArgs', () => {
  it('tells emulated guests how fast their counter counts, where that is known', () => {
    const append = (more: Partial<MachineSpec>) => valuesOf(machineArgs({ ...spec, ...more }), '-append')[0] ?? ''
    assert.match(append({ tscKhz: 2_596_122 }), / tsc=reliable tsc_early_khz=2596122 /)
    assert.doesNotMatch(append({ tscKhz: null }), /tsc_early_khz/)
    assert.doesNotMatch(append({ accelerator: 'kvm', tscKhz: 2_596_122 }), /tsc/)
  })

  it('names every device itself, and denies QEMU what it needs not', () => {
    const args = machineArgs(spec)
    for (const option of ['-nodefaults', '-no-user-config', '-no-reboot']) assert.ok(args.includes(option), option)
    assert.deepEqual(valuesOf(args, '-sandbox'), ['on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'])
    assert.ok(!args.includes('-incoming'))
  })

  it('writes commas in paths twice where QEMU splits at commas', () => {
    assert.ok(machineArgs(spec).some((arg) => arg.includes('mem-path=/data/a,,b/memory,share=on')))
  })

  it('shares memory with its file, so that a standby needs to save devices only', () => {
    assert.match(valuesOf(machineArgs(spec), '-object')[0] ?? '', /^memory-backend-file,id=ram,.*share=on/)
  })

  it('has the same devices in the same places whether it boots or waits for a state', () => {
    const waiting = machineArgs({ ...spec, incoming: true })
    assert.deepEqual(waiting.slice(0, -3), machineArgs(spec))
    assert.deepEqual(waiting.slice(-3), ['-S', '-incoming', 'defer'])
  })

  it('has at least eight root ports free for volumes, each with a place of its own', () => {
    const ports = valuesOf(machineArgs(spec), '-device').filter((device) => device.startsWith('pcie-root-port'))
    assert.equal(ports.length, VOLUME_PORTS)
    assert.ok(VOLUME_PORTS >= 8)
    assert.equal(new Set(ports.map((port) => /addr=([^,]+)/.exec(port)?.[1])).size, VOLUME_PORTS)
  })

  it('puts a volume behind its port, read-only where it is shared', () => {
    const args = machineArgs({ ...spec, volumes: [{ port: 3, path: '/v', readOnly: true }] })
    const disk = valuesOf(args, '-device').filter((value) => value.includes('volume3'))
    assert.deepEqual(disk.map((value) => JSON.parse(value)), [{ driver: 'virtio-blk-pci', id: 'volume3', bus: 'port3', drive: 'volume3', serial: 'volume3' }])
    const nodes = valuesOf(args, '-blockdev').map((value) => JSON.parse(value)).filter((node) => String(node['node-name']).startsWith('volume3'))
    assert.deepEqual(nodes.map((node) => node['read-only']), [true, true])
  })

  it('limits all disks together, and names the nodes to remove outermost first', () => {
    const args = machineArgs({ ...spec, diskIoBytesPerSecond: 1000 })
    assert.ok(valuesOf(args, '-object').includes('throttle-group,id=disk-io,x-bps-total=1000'))
    for (const throttled of [true, false]) {
      const made = blockNodes('volume1', { path: '/v', readOnly: false }, throttled).map((node) => node['node-name'])
      assert.deepEqual(made.toReversed(), blockNodeNames('volume1', throttled))
      assert.equal(made.at(-1), 'volume1')
    }
  })

  it('needs neither disks nor network (the probe)', () => {
    const devices = devicesOf(machineArgs({ ...spec, root: null, overlay: null, network: null }))
    for (const absent of ['root', 'overlay', 'nic']) assert.ok(!devices.includes(absent))
  })
})

describe('identityMismatch', () => {
  const identity: MachineIdentity = { profile: 'q35-1', qemu: '7.2.22', accelerator: 'tcg', cpu: 'emulated' }

  it('is empty for the same machine, and names what differs', () => {
    assert.deepEqual(identityMismatch(identity, { ...identity }), [])
    assert.deepEqual(identityMismatch(identity, { ...identity, qemu: '8.0' }), ['QEMU was 7.2.22 and is 8.0'])
    assert.equal(identityMismatch(identity, { profile: 'x', qemu: 'x', accelerator: 'kvm', cpu: 'x' }).length, 4)
  })
})
