/** The paths of the Hypeman API, and nothing but the paths. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { WebSocket } from 'ws'
import type {} from '@fastify/websocket'
import type { Instance } from '../../instance/model.ts'
import type { Dialect, DialectOptions } from '../dialect.ts'
import { getAutoStandbyStatus, holdAutoStandby } from './auto-standby-status.ts'
import { installBodyParsers } from './body.ts'
import { serveCp } from './cp.ts'
import * as devices from './devices.ts'
import { presentError, schemaError, wireError } from './errors.ts'
import { serveExec } from './exec.ts'
import * as images from './images.ts'
import * as instances from './instances.ts'
import { streamLogs } from './logs.ts'
import { getCapabilities, getResources } from './resources.ts'
import type { Permission, Surface } from './surface.ts'
import { DIALECT, installSurface, makeSurface } from './surface.ts'
import * as snapshots from './snapshots.ts'
import * as volumes from './volumes.ts'

type Handler = (surface: Surface, request: FastifyRequest, reply: FastifyReply) => Promise<unknown>

/** Parts of the API that Berth has no counterpart for; asked for, they say so. */
const ABSENT: readonly (readonly [path: string, what: string])[] = [
  ['/ingresses', 'ingresses'],
  ['/builds', 'builds'],
  ['/builders', 'builders'],
  ['/pushes', 'pushes'],
  ['/instances/:id/snapshot-schedule', 'snapshot schedules'],
  ['/resources/memory/reclaim', 'memory reclaim'],
]

async function hypemanRoutes(app: FastifyInstance, options: DialectOptions): Promise<void> {
  const surface = makeSurface(options)
  const registry = new devices.DeviceRegistry(options.stateDir)
  installBodyParsers(app)
  installSurface(app, options)

  const route = (method: 'GET' | 'POST' | 'PATCH' | 'DELETE', url: string, permission: Permission, handler: Handler): void => {
    app.route({
      method,
      url,
      config: { hypemanPermission: permission },
      handler: (request, reply) => handler(surface, request, reply),
    })
  }

  route('GET', '/health', 'public', async () => ({ status: 'ok' }))
  route('GET', '/resources', 'resource:read', getResources)
  route('GET', '/capabilities', 'resource:read', getCapabilities)

  route('GET', '/instances', 'instance:read', instances.listInstances)
  route('POST', '/instances', 'instance:write', instances.createInstance)
  route('GET', '/instances/:id', 'instance:read', instances.getInstance)
  route('PATCH', '/instances/:id', 'instance:write', instances.updateInstance)
  route('DELETE', '/instances/:id', 'instance:delete', instances.deleteInstance)
  route('GET', '/instances/:id/auto-standby/status', 'instance:read', getAutoStandbyStatus)
  route('POST', '/instances/:id/auto-standby/hold', 'instance:write', holdAutoStandby)
  route('POST', '/instances/:id/standby', 'instance:write', instances.standbyInstance)
  route('POST', '/instances/:id/restore', 'instance:write', instances.restoreInstance)
  route('POST', '/instances/:id/start', 'instance:write', instances.startInstance)
  route('POST', '/instances/:id/stop', 'instance:write', instances.stopInstance)
  route('GET', '/instances/:id/wait', 'instance:read', instances.waitInstance)
  route('GET', '/instances/:id/stat', 'instance:read', instances.statPath)
  route('GET', '/instances/:id/stats', 'instance:read', instances.instanceStats)
  route('GET', '/instances/:id/logs', 'instance:read', streamLogs)
  route('POST', '/instances/:id/volumes/:volumeId', 'instance:write', instances.attachVolume)
  route('DELETE', '/instances/:id/volumes/:volumeId', 'instance:write', instances.detachVolume)

  route('POST', '/instances/:id/fork', 'instance:write', snapshots.forkInstance)
  route('POST', '/instances/:id/snapshots', 'snapshot:write', snapshots.createSnapshot)
  route('POST', '/instances/:id/snapshots/:snapshotId/restore', 'snapshot:write', snapshots.restoreSnapshot)
  route('GET', '/snapshots', 'snapshot:read', snapshots.listSnapshots)
  route('GET', '/snapshots/:snapshotId', 'snapshot:read', snapshots.getSnapshot)
  route('DELETE', '/snapshots/:snapshotId', 'snapshot:delete', snapshots.deleteSnapshot)
  route('POST', '/snapshots/:snapshotId/fork', 'snapshot:write', snapshots.forkSnapshot)

  route('GET', '/images', 'image:read', images.listImages)
  route('POST', '/images', 'image:write', images.createImage)
  route('GET', '/images/*', 'image:read', images.getImage)
  route('DELETE', '/images/*', 'image:delete', images.deleteImage)
  route('POST', '/images/*', 'image:write', images.tagImage)

  route('GET', '/volumes', 'volume:read', volumes.listVolumes)
  route('POST', '/volumes', 'volume:write', volumes.createVolume)
  route('POST', '/volumes/from-archive', 'volume:write', volumes.createVolumeFromArchive)
  route('GET', '/volumes/:id', 'volume:read', volumes.getVolume)
  route('DELETE', '/volumes/:id', 'volume:delete', volumes.deleteVolume)

  route('GET', '/devices', 'device:read', (_, request) => devices.listDevices(surface, registry, request))
  route('POST', '/devices', 'device:write', (_, request, reply) => devices.createDevice(surface, registry, request, reply))
  route('GET', '/devices/available', 'device:read', devices.listAvailableDevices)
  route('GET', '/devices/:id', 'device:read', (_, request) => devices.getDevice(surface, registry, request))
  route('DELETE', '/devices/:id', 'device:delete', (_, request, reply) => devices.deleteDevice(registry, request, reply))

  upgradeRoute(app, surface, '/instances/:id/exec', serveExec)
  upgradeRoute(app, surface, '/instances/:id/cp', serveCp)

  for (const [path, what] of ABSENT) {
    for (const url of [path, `${path}/*`]) {
      app.all(url, { config: { hypemanPermission: 'resource:read' } }, async () => {
        throw wireError('not_supported', 'not_supported', `this server has no ${what}`, { status: 501 })
      })
    }
  }
}

type Serve = (surface: Surface, socket: WebSocket, request: FastifyRequest, instanceId: Instance['id']) => Promise<void>

/**
 * A WebSocket route. What can be refused is refused before the upgrade, as HTTP: clients print that body, and
 * have no way to see an error that comes after it.
 */
function upgradeRoute(app: FastifyInstance, surface: Surface, url: string, serve: Serve): void {
  const served = new WeakMap<FastifyRequest, Instance>()
  app.route({
    method: 'GET',
    url,
    // A token needs instance:write for these, as upstream has it.
    config: { hypemanPermission: 'instance:write', hypemanUpgrade: true },
    preHandler: async request => {
      served.set(request, await instances.servingInstance(surface, request))
    },
    handler: async () => {
      throw schemaError('this route is a WebSocket: send an Upgrade header')
    },
    wsHandler: (socket, request) => {
      const instance = served.get(request)
      if (instance === undefined) return socket.terminate()
      // serve tells its own failures; nothing is left to be told here.
      void serve(surface, socket, request, instance.id)
    },
  })
}

export const hypemanDialect: Dialect = {
  name: DIALECT,
  prefix: '',
  plugin: hypemanRoutes,
  presentError,
}
