/** The host that the configuration asks for. */
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { Host } from '../engine/host-port.ts'
import { createSimulatedHost } from '../host/simulated/simulated-host.ts'
import { BerthError } from '../instance/errors.ts'
import type { ServerConfig } from './config.ts'

const SIMULATED_STATE_FILE = 'simulated-host.json'

export async function openHost(config: ServerConfig, _log: Logger): Promise<Host> {
  switch (config.host) {
    case 'simulated':
      return createSimulatedHost({ stateFile: join(config.dataDir, SIMULATED_STATE_FILE), subnet: config.subnet })
    case 'qemu':
      throw new BerthError('not_supported', 'qemu is not here yet')
  }
}
