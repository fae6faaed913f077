/**
 * QEMU processes of this host that no record knows: a server that died between starting one and writing
 * that down left them. They are found by the control socket on their command line.
 */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { HostPaths } from '../paths.ts'
import { identify, type ProcessIdentity } from './identity.ts'

/** Every QEMU below the host's runtime directory but those that are known. */
export async function findStrays(paths: HostPaths, known: readonly ProcessIdentity[]): Promise<readonly ProcessIdentity[]> {
  const strays: ProcessIdentity[] = []
  const mark = `path=${join(paths.run, '/')}`.replaceAll(',', ',,')
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const command = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => '')
    if (!/qemu-system[^\0]*\0/.test(command) || !command.includes(mark)) continue
    const identity = await identify(Number(name))
    if (identity !== null && !known.some((other) => other.pid === identity.pid && other.startTicks === identity.startTicks)) strays.push(identity)
  }
  return strays
}
