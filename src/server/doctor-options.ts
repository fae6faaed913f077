/** `berth doctor` with the configuration that a server here would have. */
import { findLeftovers } from '../host/leftovers/leftovers.ts'
import { proveAccelerator } from '../host/qemu/proof.ts'
import type { Flags } from './config.ts'
import { readConfig } from './config.ts'
import { diagnose } from './doctor.ts'
import type { Check } from './doctor.ts'
import { ownerOf } from './data-lock.ts'

/** Looks at this machine. Throws `invalid_request` if the configuration itself is wrong. */
export async function doctor(env: NodeJS.ProcessEnv, flags: Flags, { clean = false }: { readonly clean?: boolean } = {}): Promise<readonly Check[]> {
  const config = readConfig(env, flags)
  const owner = ownerOf(config.dataDir)
  return diagnose({
    dataDir: config.dataDir,
    artifactsDir: config.guestDir,
    listeners: [
      { name: 'API', ...config.listen, servedAt: servedAt(owner?.url ?? null, config.listen) },
      ...(config.mcp.listen === null ? [] : [{ name: 'MCP', ...config.mcp.listen, servedAt: servedAt(owner?.mcpUrl ?? null, config.mcp.listen) }]),
    ],
    clean,
    leftovers: await findLeftovers({
      ...(config.runDir === null ? {} : { runDir: config.runDir }),
      isServed: (dataDir) => dataDir === config.dataDir || ownerOf(dataDir) !== null,
    }),
    proveAccelerator: () =>
      proveAccelerator({
        dataDir: config.dataDir,
        artifactsDir: config.guestDir,
        accelerator: config.accelerator === 'auto' ? null : config.accelerator,
      }),
  })
}

/** That address, if it is on this port; a server that listens elsewhere says nothing about the port. */
function servedAt(url: string | null, { port }: { readonly port: number }): string | null {
  return url !== null && new URL(url).port === String(port) ? url : null
}
