/**
 * Who QEMU runs as. As root Berth gives every instance a user of its own that nobody else has, so that a
 * QEMU that was taken over reaches neither the host's files nor another VM's; otherwise QEMU runs as we do.
 *
 * The numbers lie in 1879048192-2147483647, which systemd's allocation leaves unused, and need no entry in
 * /etc/passwd. Images and shared volumes are readable to the group that all VMs have in common.
 */
import { createHash } from 'node:crypto'
import { chmod, chown, stat } from 'node:fs/promises'
import type { InstanceId } from '../../instance/model.ts'

export const FIRST_UID = 1_879_048_192
const UIDS = 2_147_483_647 - FIRST_UID
/** The group of all VMs. */
export const VM_GID = FIRST_UID

export interface Jail {
  /** Whether QEMU runs as somebody else than we do. */
  readonly separate: boolean
  /** The user of an instance's QEMU. */
  uidOf(id: InstanceId): number
  readonly gid: number
  /** From now on the instance's QEMU runs as the user of `other`: a VM of the pool keeps the user that it had. */
  assign(id: InstanceId, other: InstanceId): void
  /** Back to a user of its own. */
  release(id: InstanceId): void
  /** The command that becomes QEMU without our rights; argv[0] first. */
  wrap(command: string, args: readonly string[], id: InstanceId | null): readonly string[]
  /** Gives a file or directory to an instance's QEMU. */
  give(path: string, id: InstanceId, mode: number): Promise<void>
  /** Lets every VM read a file, or pass through a directory. */
  share(path: string, mode: number): Promise<void>
}

/** `keep` leaves QEMU with our own user even for root. */
export async function openJail(options: { readonly keep?: boolean } = {}): Promise<Jail> {
  if (process.getuid?.() !== 0 || options.keep === true) return sameUser()
  const groups = await deviceGroups(['/dev/kvm'])
  const assigned = new Map<InstanceId, InstanceId>()
  const userOf = (id: InstanceId): number => uidOf(assigned.get(id) ?? id)
  return {
    separate: true,
    gid: VM_GID,
    uidOf: userOf,
    assign: (id, other) => void assigned.set(id, other),
    release: (id) => void assigned.delete(id),
    wrap: (command, args, id) => [
      'setpriv',
      `--reuid=${id === null ? FIRST_UID + 1 : userOf(id)}`,
      `--regid=${VM_GID}`,
      ...(groups.length === 0 ? ['--clear-groups'] : [`--groups=${groups.join(',')}`]),
      '--inh-caps=-all',
      '--bounding-set=-all',
      '--no-new-privs',
      '--',
      command,
      ...args,
    ],
    async give(path, id, mode) {
      await chown(path, userOf(id), VM_GID)
      await chmod(path, mode)
    },
    async share(path, mode) {
      await chown(path, 0, VM_GID)
      await chmod(path, mode)
    },
  }
}

/**
 * Makes a device usable for VMs the way distributions set it up, where this machine's is for root alone.
 * Says in a sentence what it changed, or null.
 */
export async function openDevice(path: '/dev/kvm' | '/dev/net/tun'): Promise<string | null> {
  if (process.getuid?.() !== 0) return null
  const info = await stat(path).catch(() => null)
  if (info === null || !info.isCharacterDevice()) return null
  if (path === '/dev/net/tun') {
    // udev's own mode: what may be done with an interface is decided by who owns it, not by this file.
    if ((info.mode & 0o006) === 0o006) return null
    await chmod(path, 0o666)
    return `${path} was for root alone; it now has the mode that distributions give it (0666).`
  }
  if ((info.mode & 0o006) === 0o006 || ((info.mode & 0o060) === 0o060 && info.gid !== 0)) return null
  await chown(path, info.uid, info.gid === 0 ? VM_GID : info.gid)
  await chmod(path, 0o660)
  return `${path} was for root alone; VMs may now use it through their group.`
}

function uidOf(id: InstanceId): number {
  // Two instances that hash alike share a user; among a thousand that is a chance of one in five hundred.
  return FIRST_UID + 2 + (createHash('sha256').update(id).digest().readUInt32BE(0) % (UIDS - 2))
}

function sameUser(): Jail {
  const uid = process.getuid?.() ?? 0
  return {
    separate: false,
    gid: process.getgid?.() ?? 0,
    uidOf: () => uid,
    assign: () => undefined,
    release: () => undefined,
    wrap: (command, args) => [command, ...args],
    give: (path, _id, mode) => chmod(path, mode),
    share: (path, mode) => chmod(path, mode),
  }
}

async function deviceGroups(paths: readonly string[]): Promise<number[]> {
  const groups: number[] = []
  for (const path of paths) {
    const info = await stat(path).catch(() => null)
    if (info !== null && info.gid !== 0 && info.gid !== VM_GID && (info.mode & 0o060) === 0o060) groups.push(info.gid)
  }
  return groups
}
