/**
 * Shared file systems of an instance: held while it needs them, and mounted in its guest before its application runs.
 * The modules for NFS are sent to the guests that need them, so that no other pays for them.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { KeptSpec } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'
import { EXPORT_NAME } from '../file-systems/ganesha-config.ts'
import type { GuestShare } from '../guest-link/guest-config.ts'
import type { GuestLink } from '../guest-link/link.ts'
import type { GuestArtifacts, VmContext } from './context.ts'

/** The module that names clients, and how it is told the name. */
const CLIENT_MODULE = 'nfs'
const CLIENT_NAME_OPTION = 'nfs4_unique_id'

export interface HeldShare extends GuestShare {
  readonly port: number
}

/** Has every file system of the instance served; the same again finds them served. `running` is a guest that has them mounted. */
export async function holdShares(context: VmContext, spec: KeptSpec, running: boolean): Promise<readonly HeldShare[]> {
  const { network, fileSystems = [] } = spec
  if (fileSystems.length === 0) return []
  if (network === null) throw new BerthError('invalid_request', 'An instance without a network can mount no file systems.')
  return await Promise.all(
    fileSystems.map(async ({ fileSystemId, path }) => {
      const { address, port } = await (running ? context.fileSystems.takeOver(fileSystemId, spec.instanceId) : context.fileSystems.hold(fileSystemId, spec.instanceId))
      return { source: `${address}:${EXPORT_NAME}`, path, port, options: mountOptions({ address, port, clientIp: network.ip }) }
    }),
  )
}

export async function mountShares(link: GuestLink, artifacts: GuestArtifacts, spec: KeptSpec, shares: readonly HeldShare[]): Promise<void> {
  if (shares.length === 0) return
  await loadModules(link, artifacts, spec)
  // Parents first, where one is mounted inside of another.
  for (const share of shares.toSorted((a, b) => a.path.length - b.path.length)) await link.mountShare(share)
}

/** Hard: what fails on the host is waited for, never told to programs as an error. */
function mountOptions({ address, port, clientIp }: { readonly address: string; readonly port: number; readonly clientIp: string }): string {
  return `vers=4.2,proto=tcp,hard,sec=sys,addr=${address},clientaddr=${clientIp},port=${port}`
}

async function loadModules(link: GuestLink, { sentModules }: GuestArtifacts, spec: KeptSpec): Promise<void> {
  if (sentModules === null) throw new BerthError('not_supported', 'The guest kernel was built without NFS: run ./berth setup, which builds it anew.')
  for (const name of sentModules.order) {
    // Servers tell clients apart by their name; the host name that is the default may be another guest's, too.
    const options = name === CLIENT_MODULE ? `${CLIENT_NAME_OPTION}=${spec.instanceId}` : ''
    await link.loadModule({ name, image: await readFile(join(sentModules.dir, `${name}.ko`)), options })
  }
}
