/** The store, the host and the engine over them, as the configuration asks; closed in the opposite order. */
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { Host } from '../engine/host-port.ts'
import { createEngine } from '../engine/engine.ts'
import type { BerthEngine } from '../engine/engine.ts'
import type { Store } from '../engine/store-port.ts'
import type { Catalogue } from '../instance/catalogue.ts'
import { withoutSimulation } from '../instance/catalogue.ts'
import type { ProjectId } from '../instance/model.ts'
import { openStore } from '../store/open.ts'
import { loadCatalogue } from './catalogue-file.ts'
import type { ServerConfig } from './config.ts'
import { openHost, openRegionalHosts } from './host.ts'

const DATABASE_FILE = 'berth.db'

export interface Assembly {
  readonly store: Store
  readonly host: Host
  readonly engine: BerthEngine
  readonly catalogue: Catalogue
  readonly defaultProject: ProjectId
  /** The administrator's key if it was made by this start; told once. */
  readonly newAdminSecret: string | null
  close(): Promise<void>
}

export async function assemble(config: ServerConfig, log: Logger): Promise<Assembly> {
  const undo: (() => Promise<unknown>)[] = []
  const close = async (): Promise<void> => {
    for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step()
  }
  try {
    const loaded = loadCatalogue(config.dataDir)
    const catalogue = config.simulatedRegions ? loaded : withoutSimulation(loaded)
    const store = await openStore({ path: join(config.dataDir, DATABASE_FILE) }, { secretsKey: config.secretsKey, warn: sentence => log.warn(sentence) })
    undo.push(() => store.close())
    const host = await openHost(config, log.child({ room: 'host' }))
    undo.push(() => host.close())
    const regionalHosts = openRegionalHosts(config.dataDir, catalogue, host)
    undo.push(() => Promise.all(regionalHosts.map(regional => regional.host.close())))
    const engine = createEngine({
      store,
      hosts: [host],
      regionalHosts,
      catalogue,
      logger: log.child({ room: 'engine' }),
      adminSecret: config.adminKey,
      config: {
        overcommit: config.overcommit,
        market: config.market,
        limits: {
          maxVcpus: config.limits.vcpusPerInstance,
          maxMemoryBytes: config.limits.memoryBytesPerInstance,
          maxOverlayBytes: config.limits.overlayBytesPerInstance,
        },
      },
    })
    undo.push(() => engine.close())
    const { defaultProject, newAdminSecret } = await engine.start()
    return { store, host, engine, catalogue, defaultProject: defaultProject.id, newAdminSecret, close }
  } catch (error) {
    await close()
    throw error
  }
}
