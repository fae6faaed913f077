/**
 * The image on which guests of the pool rehearse a launch: an erofs root with one program, the agent itself, which
 * says that it is process 1 of a guest and runs nowhere else, and ends. Made once for each version of the agent.
 */
import { access, copyFile, mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { asDiskError, runCommand } from '../command.ts'
import type { VmContext } from './context.ts'
import type { GuestConfig } from '../guest-link/guest-config.ts'

const IMAGE = 'rehearsal.erofs'
/** VMs of all users read it. */
const SHARED_MODE = 0o640
/** An interface needs a MAC and an address to be brought up; they lead nowhere. */
const NETWORK = { mac: '02:00:00:00:00:02', ip: '192.0.2.2', prefixLength: 24, gateway: '192.0.2.1', mtu: null }

/** The image, made if it isn't there; null where the agent's program is missing. */
export async function rehearsalImage(context: VmContext): Promise<string | null> {
  const { agent, version } = context.artifacts
  if (agent === null) return null
  const dir = join(context.paths.guest, version)
  const image = join(dir, IMAGE)
  if (await access(image).then(() => true, () => false)) return image
  const work = await mkdtemp(join(dir, '.rehearsal-'))
  try {
    const tree = join(work, 'tree')
    for (const name of ['bin', 'etc']) await mkdir(join(tree, name), { recursive: true })
    await copyFile(agent, join(tree, 'bin/rehearsal'))
    await writeFile(join(tree, 'etc/machine-id'), '')
    await runCommand('mkfs.erofs', ['--quiet', '--all-root', '-T0', join(work, IMAGE), tree])
    await context.jail.share(join(work, IMAGE), SHARED_MODE)
    await rename(join(work, IMAGE), image)
    return image
  } catch (error) {
    throw asDiskError(error, 'the image that guests rehearse on')
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

/** What a guest is told that rehearses: nobody's name, nobody's address. */
export function rehearsalConfig(withNetwork: boolean): GuestConfig {
  return {
    hostname: 'rehearsal',
    machineId: '0'.repeat(32),
    network: withNetwork ? NETWORK : null,
    dns: [NETWORK.gateway],
    root: { serial: 'root', overlaySerial: 'overlay' },
    volumes: [],
  }
}
