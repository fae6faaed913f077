/**
 * What a pretended machine holds: in memory, and in a JSON file if it is to outlive its process. The file is
 * replaced whole after each change, so that a kill at any instant leaves the state before it or after it.
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import type { AppExit, FirewallRule, ImageConfig, PortMapping } from '../../instance/model.ts'

export interface VmState {
  readonly instanceId: string
  generation: number
  status: 'prepared' | 'running' | 'suspended' | 'exited'
  exit: AppExit | null
  name: string
  image: string
  vcpus: number
  memoryBytes: number
  command: readonly string[]
  env: Readonly<Record<string, string>>
  startedAt: number
  /** When the application ends by itself; null runs on. */
  endsAt: number | null
  /** Left of it while suspended. */
  leftMs: number | null
  /** The snapshot that this generation was made from. */
  applied?: string
  volumes: string[]
  /** What may reach it; null or absent is no firewall. */
  firewall?: readonly FirewallRule[] | null
  /** Ports of the host that lead to it. */
  ports?: readonly PortMapping[]
  fileSystems?: readonly string[]
  readonly log: { readonly at: number; readonly text: string }[]
  readonly files: Record<string, FileState>
}

export interface FileState {
  readonly kind: 'file' | 'directory' | 'symlink'
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly mtimeSeconds: number
  /** base64; empty for a directory. */
  readonly data: string
  readonly linkTarget: string | null
}

export interface ImageState {
  readonly digest: string
  readonly sizeBytes: number
  readonly config: ImageConfig
}

export interface MachineState {
  readonly vms: Record<string, VmState>
  /** The newest generation seen of each instance, kept after destroy: older calls do nothing. */
  readonly seen: Record<string, number>
  /** How often a VMM was launched, by `instance/generation`: more than 1 is a broken promise. */
  readonly launches: Record<string, number>
  readonly images: Record<string, ImageState>
  readonly volumes: Record<string, { readonly sizeBytes: number }>
  /** Absent in the file of an earlier Berth. */
  fileSystems?: Record<string, { readonly sizeBytes: number }>
  /** Missing in the file of an earlier Berth. */
  snapshots?: Record<string, SnapshotState>
}

/** A copy of a VM: its files, and with memory what it was about. */
export interface SnapshotState {
  readonly id: string
  readonly memory: Pick<VmState, 'command' | 'env' | 'leftMs'> | null
  readonly files: VmState['files']
  readonly bytes: number
}

export class MachineStore {
  readonly state: MachineState
  readonly #path: string | null

  constructor(path: string | null) {
    this.#path = path
    this.state =
      path !== null && existsSync(path)
        ? (JSON.parse(readFileSync(path, 'utf8')) as MachineState)
        : { vms: {}, seen: {}, launches: {}, images: {}, volumes: {} }
  }

  save(): void {
    if (this.#path === null) return
    const temporary = `${this.#path}.${process.pid}.tmp`
    writeFileSync(temporary, JSON.stringify(this.state), { mode: 0o600 })
    renameSync(temporary, this.#path)
  }
}
