/** What the host tells a guest about itself, and what the guest tells back. Plain data. */
import type { AppExit, VolumeMode } from '../../instance/model.ts'
import type { GUEST_STATES } from './protocol.ts'

/**
 * Makes a blank guest one instance. Sent once, before anything of the image runs. Entropy and the wall
 * clock are added by the link at the moment of sending.
 *
 * Disks are virtio-blk devices found by their `serial=` property (at most 20 bytes); they may be there
 * from the start or be hot-plugged up to 10 s later.
 */
export interface GuestConfig {
  readonly hostname: string
  /** 32 lower-case hex digits; written only where the image has /etc/machine-id or systemd. */
  readonly machineId: string
  /** null is loopback only. */
  readonly network: GuestNetwork | null
  /** For /etc/resolv.conf; with none the image's own stays. At most 8. */
  readonly dns: readonly string[]
  readonly root: GuestRoot
  /** Mounted in this order, parents made. At most 32. */
  readonly volumes: readonly GuestVolume[]
  /** For root's and ubuntu's authorized_keys, once in the life of the overlay disk; with none there is no SSH. At most 64. */
  readonly sshKeys?: readonly string[]
}

export interface GuestRoot {
  /** An erofs disk, mounted read-only: `root`. */
  readonly serial: string
  /** An ext4 disk (made by the host) for what is written: `overlay`. null keeps writes in memory. */
  readonly overlaySerial: string | null
}

export interface GuestNetwork {
  /** The interface is found by this; the only interface takes it over if it has another one (a template's). */
  readonly mac: string
  readonly ip: string
  /** 0-32 */
  readonly prefixLength: number
  readonly gateway: string | null
  /** null keeps the interface's own. */
  readonly mtu: number | null
}

export interface GuestVolume {
  /** `vol-<n>` by custom. */
  readonly serial: string
  /** Absolute mount point in the guest. */
  readonly path: string
  /** `rw` mounts ext4; `ro` mounts it without touching its journal; `overlay` puts a writable layer over that. */
  readonly mode: VolumeMode
  /** The ext4 disk of the writable layer; with `overlay` only (null there keeps writes in memory). */
  readonly overlaySerial: string | null
}

/** A file system that an NFS server of the host serves. */
export interface GuestShare {
  /** `10.73.0.1:/share` */
  readonly source: string
  /** As the kernel's nfs4 takes them. */
  readonly options: string
  readonly path: string
}

/** A kernel module that the host sends. */
export interface GuestModule {
  readonly name: string
  readonly image: Uint8Array
  readonly options: string
}

export interface AppRequest {
  /** argv; never empty. Looked up in PATH where it has no slash; needs no shell. */
  readonly command: readonly string[]
  readonly env: Readonly<Record<string, string>>
  /** Made if it isn't there; `` is `/`. */
  readonly workingDir: string
  /** `name|uid[:group|gid]`, resolved in the guest; `` is root. */
  readonly user: string
  /** `SIGTERM`, `15`, … as images spell it; null is SIGTERM (or what powers off, for an init). */
  readonly stopSignal: string | null
  /** A program that runs beside it, once in the life of the overlay disk, as root, its output in the log; null is none. */
  readonly firstScript?: string | null
}

export interface GuestStatus {
  readonly state: (typeof GUEST_STATES)[number]
  /** With `app-exited`. */
  readonly exit: AppExit | null
  readonly agentVersion: string
  readonly kernel: string
}

export interface GuestMemory {
  readonly totalBytes: number
  readonly availableBytes: number
}
