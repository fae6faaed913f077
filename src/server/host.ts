/** The host that the configuration asks for. */
import { join } from 'node:path'
import type { Logger } from 'pino'
import { DEFAULT_SPEC } from '../engine/defaults.ts'
import type { RegionalHost } from '../engine/fleet.ts'
import type { Host } from '../engine/host-port.ts'
import { createSimulatedHost } from '../host/simulated/simulated-host.ts'
import type { Catalogue, InstanceType } from '../instance/catalogue.ts'
import type { ServerConfig } from './config.ts'

const SIMULATED_STATE_FILE = 'simulated-host.json'

export async function openHost(config: ServerConfig, log: Logger): Promise<Host> {
  switch (config.host) {
    case 'simulated':
      return createSimulatedHost({ stateFile: join(config.dataDir, SIMULATED_STATE_FILE), subnet: config.subnet })
    case 'qemu':
      // Its code is loaded only where there is such a host.
      return (await import('../host/qemu-host.ts')).openQemuHost({
        dataDir: config.dataDir,
        ...(config.runDir === null ? {} : { runDir: config.runDir }),
        artifactsDir: config.guestDir,
        accelerator: config.accelerator === 'auto' ? null : config.accelerator,
        network: {
          mode: config.network,
          subnet: config.subnet,
          ...(config.bridge === null ? {} : { bridgeName: config.bridge }),
          ...(config.dns.length === 0 ? {} : { dns: config.dns }),
        },
        templates: config.templates ? [{ vcpus: DEFAULT_SPEC.vcpus, memoryBytes: DEFAULT_SPEC.memoryBytes }] : null,
        imageTemplates: config.imageTemplates,
        builtInOverlayBytes: DEFAULT_SPEC.overlayBytes,
        napBytes: config.napBytes,
        pool: config.poolBytes === null ? null : { budgetBytes: config.poolBytes, overlayBytes: DEFAULT_SPEC.overlayBytes, rehearses: config.poolRehearses },
        images: { insecureRegistries: config.insecureRegistries },
        log,
      })
  }
}

/** Addresses of what only pretends: set aside for benchmarks (RFC 2544), so that none of them leads anywhere. */
const PRETENDED_SUBNET = '198.18.0.0/16'

/**
 * One simulated host for each region of the catalogue that says it is simulated, large enough for all of its slots. It
 * has the images of home without pulling them, so that no registry is asked twice.
 */
export function openRegionalHosts(dataDir: string, catalogue: Catalogue, home: Pick<Host, 'images'>): readonly RegionalHost[] {
  return catalogue.regions.flatMap(({ id, simulated }) => {
    if (simulated === null) return []
    const sum = (size: (type: InstanceType) => number) => catalogue.types.reduce((total, type) => total + size(type) * simulated.slotsPerType, 0)
    const host = createSimulatedHost({
      id: `region-${id}`,
      stateFile: join(dataDir, `region-${id}.json`),
      subnet: PRETENDED_SUBNET,
      cpus: sum(type => type.vcpus),
      memoryBytes: sum(type => type.memoryBytes),
      diskBytes: sum(type => type.diskBytes),
      borrowedImages: () => home.images(),
    })
    return [{ region: id, host }]
  })
}
