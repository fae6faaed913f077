/** What the server has and can do: health, capacity and its use, capabilities. */
import type { FastifyRequest } from 'fastify'
import { presentResources } from './present.ts'
import type * as wire from './schema.ts'
import type { Surface } from './surface.ts'
import { callerOf } from './surface.ts'

/** The newest version of the Hypeman API whose additions are spoken here. */
const API_VERSION = '0.3.0'
/** What upstream's clients ask for by name before they use it. */
const FEATURES = ['standby', 'exec', 'cp', 'wait', 'stats', 'tags', 'restart_policy', 'ttl', 'volumes.hot_attach', 'ports']

export async function getResources(surface: Surface, request: FastifyRequest): Promise<wire.Resources> {
  return presentResources(await surface.engine.resources(callerOf(request)))
}

export async function getCapabilities(surface: Surface, request: FastifyRequest): Promise<unknown> {
  const caller = callerOf(request)
  const [{ host }, platform] = await Promise.all([surface.engine.resources(caller), surface.platform(caller)])
  return {
    server: { api_version: API_VERSION, version: surface.options.version },
    host: { os: host.os, arch: platform.split('/')[1] ?? host.arch },
    default_runtime: { name: 'qemu', available: true },
    runtimes: [{ name: 'qemu', available: true, features: ['standby'] }],
    images: { default_platform: platform, platforms: [platform] },
    network: {
      model: host.network.mode === 'bridge' ? 'bridge' : 'nat',
      gateway: host.network.gateway,
      subnet: host.network.subnet,
      guest_to_guest: false,
    },
    features: FEATURES,
  }
}
