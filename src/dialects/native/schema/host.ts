/** The host: what it is, what it has, what is taken. */
import { Type } from 'typebox'
import type { Static } from 'typebox'
import { Text, nullable } from './words.ts'

export const DeviceProperties = {
  pciAddress: Text('`0000:a2:00.0`'),
  vendorId: Type.String(),
  deviceId: Type.String(),
  vendorName: nullable(Type.String()),
  deviceName: nullable(Type.String()),
  iommuGroup: Type.Integer(),
  driver: nullable(Type.String()),
  kind: Type.Enum(['gpu', 'pci']),
}
export const DeviceBody = Type.Object(DeviceProperties, { $id: 'Device' })
export type DeviceBody = Static<typeof DeviceBody>

export const HostBody = Type.Object(
  {
    hostId: Type.String(),
    os: Type.String(),
    arch: Type.String(),
    hypervisor: Type.String(),
    accelerator: Type.Enum(['kvm', 'tcg', 'simulated']),
    acceleratorReason: Text('Why this accelerator.'),
    cpus: Type.Integer(),
    memoryBytes: Type.Integer(),
    diskBytes: Type.Integer(),
    diskFreeBytes: Type.Integer(),
    network: Type.Object({
      mode: Type.Enum(['bridge', 'user', 'none']),
      subnet: Type.String(),
      gateway: Type.String(),
      dns: Type.Array(Type.String()),
    }),
    diskUse: Type.Object({
      imagesBytes: Type.Integer(),
      imageCacheBytes: Type.Integer(),
      volumesBytes: Type.Integer(),
      overlaysBytes: Type.Integer(),
    }),
    templates: Type.Array(
      Type.Object({
        vcpus: Type.Integer(),
        memoryBytes: Type.Integer(),
        state: Type.Enum(['making', 'ready']),
        ofImage: Type.Boolean({ description: 'Whether it is of one image, which is mounted in it already; otherwise it serves every image.' }),
        waiting: Type.Integer({ description: 'VMs of it that wait in the pool to be an instance.' }),
      }),
      { description: 'Sizes that start from a guest which has booted already, and those that are about to.' },
    ),
    warnings: Type.Array(Type.String(), { description: 'Sentences that an operator should read.' }),
  },
  { $id: 'Host' },
)
export type HostBody = Static<typeof HostBody>

export const ResourcesBody = Type.Object(
  {
    lines: Type.Array(
      Type.Object({
        kind: Type.Enum(['cpu', 'memory', 'disk', 'network']),
        capacity: Type.Number(),
        limit: Type.Number({ description: 'capacity × overcommit' }),
        allocated: Type.Number(),
        overcommit: Type.Number(),
      }),
    ),
    allocations: Type.Array(
      Type.Object({
        instanceId: Type.String(),
        name: Type.String(),
        vcpus: Type.Number(),
        memoryBytes: Type.Number(),
        diskBytes: Type.Number(),
        downloadBytesPerSecond: Type.Number(),
        uploadBytesPerSecond: Type.Number(),
      }),
    ),
  },
  { $id: 'Resources' },
)
export type ResourcesBody = Static<typeof ResourcesBody>

export const VersionBody = Type.Object({ name: Type.Literal('berth'), version: Type.String(), api: Type.Literal('/berth/v1') })
