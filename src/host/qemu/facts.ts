/** What the machine is and has, as the engine asks for it. */
import { readFile, readdir, stat, statfs } from 'node:fs/promises'
import { availableParallelism, totalmem } from 'node:os'
import { join } from 'node:path'
import type { HostDevice, HostFacts } from '../../engine/host-port.ts'
import type { HostId } from '../../instance/model.ts'
import type { VmContext } from './context.ts'

/** What was used of the disk so long ago is told as what is used now. */
const DISK_USE_AGE_MS = 2_000

/** What does not change while the server runs. */
export interface FixedFacts {
  readonly hostId: HostId
  readonly devices: readonly HostDevice[]
  readonly warnings: readonly string[]
  readonly diskUse: DiskUse
}

/** What is used of the disk: a look at each file of each instance, which many who ask in one moment share. */
export class DiskUse {
  readonly #context: Pick<VmContext, 'images' | 'volumes' | 'paths'>
  #last: { readonly at: number; readonly use: Promise<HostFacts['diskUse']> } | null = null

  constructor(context: Pick<VmContext, 'images' | 'volumes' | 'paths'>) {
    this.#context = context
  }

  read(): Promise<HostFacts['diskUse']> {
    const now = performance.now()
    if (this.#last === null || now - this.#last.at > DISK_USE_AGE_MS) {
      const use = this.#look()
      this.#last = { at: now, use }
      // The next looks again; whoever asked is told.
      use.catch(() => (this.#last = null))
    }
    return this.#last.use
  }

  async #look(): Promise<HostFacts['diskUse']> {
    const { images, volumes, paths } = this.#context
    const [ofImages, volumesBytes, overlaysBytes] = await Promise.all([images.diskUse(), volumes.diskUse(), overlaysUse(paths.instances)])
    return { ...ofImages, volumesBytes, overlaysBytes }
  }
}

export async function readFacts(context: VmContext, fixed: FixedFacts): Promise<HostFacts> {
  const network = context.network.facts()
  const [{ blocks, bavail, bsize }, diskUse] = await Promise.all([statfs(context.paths.data), fixed.diskUse.read()])
  return {
    hostId: fixed.hostId,
    os: 'linux',
    arch: process.arch === 'arm64' ? 'aarch64' : 'x86_64',
    hypervisor: `QEMU ${context.qemuVersion}`,
    accelerator: context.accelerator.accelerator,
    acceleratorReason: context.accelerator.reason,
    cpus: availableParallelism(),
    memoryBytes: totalmem(),
    diskBytes: blocks * bsize,
    diskFreeBytes: bavail * bsize,
    network: { mode: network.mode, subnet: network.subnet, gateway: network.gateway, dns: network.dns },
    diskUse,
    devices: fixed.devices,
    templates: (context.templates?.list() ?? []).map(({ key, state }) => ({
      vcpus: key.vcpus,
      memoryBytes: key.memoryBytes,
      state,
      ofImage: key.image !== null,
      waiting: context.pool?.count(key) ?? 0,
    })),
    warnings: fixed.warnings,
  }
}

/** The model name of the machine's CPU. */
export async function readCpuModel(): Promise<string> {
  const text = await readFile('/proc/cpuinfo', 'utf8')
  const value = (name: string) => new RegExp(`^${name}\\s*: (.*)$`, 'm').exec(text)?.[1]?.trim() ?? ''
  return `${value('model name')} ${value('stepping')} ${value('microcode')}`.trim()
}

/** Bytes that the instances' files really take. */
async function overlaysUse(instances: string): Promise<number> {
  let bytes = 0
  for (const instance of await readdir(instances).catch(() => [])) {
    for (const file of await readdir(join(instances, instance)).catch(() => [])) {
      // A file that went meanwhile takes nothing.
      const info = await stat(join(instances, instance, file)).catch(() => null)
      if (info?.isFile() === true) bytes += info.blocks * 512
    }
  }
  return bytes
}
