/** The host that the configuration asks for. */
import { join } from 'node:path'
import type { Logger } from 'pino'
import { DEFAULT_SPEC } from '../engine/defaults.ts'
import type { Host } from '../engine/host-port.ts'
import { openQemuHost } from '../host/qemu-host.ts'
import { createSimulatedHost } from '../host/simulated/simulated-host.ts'
import type { ServerConfig } from './config.ts'

const SIMULATED_STATE_FILE = 'simulated-host.json'

export async function openHost(config: ServerConfig, log: Logger): Promise<Host> {
  switch (config.host) {
    case 'simulated':
      return createSimulatedHost({ stateFile: join(config.dataDir, SIMULATED_STATE_FILE), subnet: config.subnet })
    case 'qemu':
      return openQemuHost({
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
        images: { insecureRegistries: config.insecureRegistries },
        log,
      })
  }
}
