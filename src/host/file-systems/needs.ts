/** What serving file systems needs of a machine; asked before one is made or served, and by the doctor. */
import { access, constants } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { TOOL_PATH } from '../command.ts'
import type { NetworkMode } from '../network/network.ts'

const TOOLS = [['ganesha.nfsd', 'nfs-ganesha'], ['unshare', 'util-linux'], ['setpriv', 'util-linux'], ['mount', 'mount'], ['busybox', 'busybox-static'], ['mke2fs', 'e2fsprogs']] as const
const PLUGIN = 'libfsalvfs.so'
const PLUGIN_PLACES = ['/usr/lib/x86_64-linux-gnu/ganesha', '/usr/lib/aarch64-linux-gnu/ganesha', '/usr/lib64/ganesha', '/usr/lib/ganesha']
const LOOP_DEVICES = '/dev/loop-control'

/** Why this machine can serve none, in a sentence that says what to do; null if it can. */
export async function whyNoFileSystems(mode: NetworkMode): Promise<string | null> {
  if (process.getuid?.() !== 0) return 'Shared file systems need Berth to run as root.'
  if (mode !== 'bridge') return 'Shared file systems need the bridge network (BERTH_NETWORK=bridge).'
  for (const [tool, brings] of TOOLS) {
    if (!(await anyIsThere(TOOL_PATH.split(delimiter).map((folder) => join(folder, tool))))) {
      return `Shared file systems need ${tool}: run ./berth setup, or install the package ${brings}.`
    }
  }
  if (!(await anyIsThere(PLUGIN_PLACES.map((place) => join(place, PLUGIN))))) {
    return 'Shared file systems need the package nfs-ganesha-vfs: run ./berth setup, or install it.'
  }
  if (!(await anyIsThere([LOOP_DEVICES]))) return 'Shared file systems need loop devices: load the kernel module loop.'
  return null
}

async function anyIsThere(paths: readonly string[]): Promise<boolean> {
  const found = await Promise.all(paths.map((path) => access(path, constants.F_OK).then(() => true, () => false)))
  return found.includes(true)
}
