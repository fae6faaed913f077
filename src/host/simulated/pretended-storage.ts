/** Volumes and file systems of a pretended host: their sizes, and which VMs have them. */
import type { Host, VmRef } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'
import type { FileSystemId, VolumeId } from '../../instance/model.ts'
import type { HostCall } from './faults.ts'
import type { MachineState, VmState } from './machine-state.ts'

interface Pretence {
  readonly state: MachineState
  readonly act: <T>(call: HostCall, instanceId: string | null, effect: () => T | Promise<T>) => Promise<T>
  readonly running: (ref: VmRef) => VmState
  readonly save: () => void
}

type StorageCalls = Pick<
  Host,
  | 'attachVolume'
  | 'detachVolume'
  | 'attachFileSystem'
  | 'detachFileSystem'
  | 'createVolume'
  | 'importVolume'
  | 'deleteVolume'
  | 'createFileSystem'
  | 'growFileSystem'
  | 'deleteFileSystem'
  | 'fileSystemUsedBytes'
>

export interface PretendedStorage {
  readonly calls: StorageCalls
  /** Throw where there is none of this id. */
  readonly requireVolume: (volumeId: VolumeId) => void
  readonly requireFileSystem: (fileSystemId: FileSystemId) => void
}

export function pretendStorage({ state, act, running, save }: Pretence): PretendedStorage {
  function requireVolume(volumeId: VolumeId): void {
    if (state.volumes[volumeId] === undefined) throw new BerthError('volume_not_found', `The volume ${volumeId} is not on this host.`)
  }

  function requireFileSystem(fileSystemId: FileSystemId): void {
    if (state.fileSystems?.[fileSystemId] === undefined) throw new BerthError('volume_not_found', `The file system ${fileSystemId} is not on this host.`)
  }

  const calls: StorageCalls = {
    attachVolume: (ref, mount) =>
      act('attachVolume', ref.instanceId, () => {
        requireVolume(mount.volumeId)
        const vm = running(ref)
        if (!vm.volumes.includes(mount.volumeId)) vm.volumes.push(mount.volumeId)
      }),
    detachVolume: (ref, volumeId) =>
      act('detachVolume', ref.instanceId, () => {
        const vm = running(ref)
        vm.volumes = vm.volumes.filter(other => other !== volumeId)
      }),

    attachFileSystem: (ref, { fileSystemId }) =>
      act('attachFileSystem', ref.instanceId, () => {
        requireFileSystem(fileSystemId)
        const vm = running(ref)
        vm.fileSystems = [...new Set([...(vm.fileSystems ?? []), fileSystemId])]
      }),
    detachFileSystem: (ref, fileSystemId) =>
      act('detachFileSystem', ref.instanceId, () => {
        const vm = running(ref)
        vm.fileSystems = (vm.fileSystems ?? []).filter(other => other !== fileSystemId)
      }),

    createVolume: volume =>
      act('createVolume', null, () => {
        state.volumes[volume.id] ??= { sizeBytes: volume.sizeBytes }
      }),
    async importVolume(volume, archive) {
      let bytes = 0
      for await (const chunk of archive) bytes += chunk.length
      if (bytes > volume.sizeBytes) throw new BerthError('archive_too_large', `The archive has ${bytes} bytes; the volume holds ${volume.sizeBytes}.`)
      state.volumes[volume.id] = { sizeBytes: volume.sizeBytes }
      save()
      return { sizeBytes: volume.sizeBytes }
    },
    deleteVolume: volumeId => act('deleteVolume', null, () => void delete state.volumes[volumeId]),

    createFileSystem: ({ id: fileSystemId, sizeBytes }) =>
      act('createFileSystem', null, () => {
        state.fileSystems ??= {}
        state.fileSystems[fileSystemId] ??= { sizeBytes }
      }),
    growFileSystem: ({ id: fileSystemId, sizeBytes }) =>
      act('growFileSystem', null, () => {
        requireFileSystem(fileSystemId)
        const known = state.fileSystems?.[fileSystemId]
        if (state.fileSystems !== undefined && known !== undefined) state.fileSystems[fileSystemId] = { sizeBytes: Math.max(known.sizeBytes, sizeBytes) }
      }),
    deleteFileSystem: fileSystemId =>
      act('deleteFileSystem', null, () => {
        const holder = Object.values(state.vms).find(vm => vm.fileSystems?.includes(fileSystemId) === true)
        if (holder !== undefined) throw new BerthError('volume_in_use', `The file system ${fileSystemId} is mounted in instance ${holder.instanceId}: delete that first.`)
        delete state.fileSystems?.[fileSystemId]
      }),
    async fileSystemUsedBytes(fileSystemId) {
      requireFileSystem(fileSystemId)
      return 0
    },
  }
  return { calls, requireVolume, requireFileSystem }
}
