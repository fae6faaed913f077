/** The Mithril dialect: instances, the orders that own them, and what its clients need besides. */
import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from 'fastify'
import type { Dialect, DialectOptions } from '../dialect.ts'
import { sendWireError } from '../dialect.ts'
import {
  createApiKey,
  deleteApiKey,
  getMe,
  listApiKeys,
  listClusterImageVersions,
  listImageVersions,
  listInstanceTypes,
  listProjects,
  listQuotas,
  listTeammates,
} from './account.ts'
import { cancelBid, createBid, getBid, getBidHistory, getBidStatus, listBids, updateBid } from './bids.ts'
import { installBodyParser } from './body.ts'
import { httpError, presentError } from './errors.ts'
import { listPricingHistory, listStatusHistory } from './histories.ts'
import { getInstanceStatus, listInstances, patchInstances, refreshBootDisk } from './instances.ts'
import { clusterMissing, listClusters, listScripts, refuseToMake, scriptMissing } from './kubernetes.ts'
import { getCurrentPrices, listAvailability, listPrices } from './prices.ts'
import { getReservationAvailability } from './reservation-availability.ts'
import {
  createReservation,
  extendReservation,
  getExtensionAvailability,
  getQuote,
  getReservationHistory,
  listReservations,
  terminateInstances,
  updateReservation,
} from './reservations.ts'
import { getReservationUsage } from './reservation-usage.ts'
import { SideNotes } from './side-notes.ts'
import { Signals } from './signal.ts'
import { createSshKey, deleteSshKey, listSshKeys, updateSshKey } from './ssh-keys.ts'
import type { Surface } from './surface.ts'
import { DIALECT, installSurface } from './surface.ts'
import { createVolume, deleteVolume, listVolumes, updateVolume } from './volumes.ts'

const PREFIX = '/v2'
const METHODS: readonly HTTPMethods[] = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']

type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE'
type Handler = (surface: Surface, request: FastifyRequest, reply: FastifyReply) => Promise<unknown>
interface Route {
  readonly handler: Handler
  /** 200 where it isn't said. */
  readonly status?: 201 | 204
}

/** Every path with what can be done there; anything else there is 405. */
const ROUTES: Readonly<Record<string, Readonly<Partial<Record<Method, Route>>>>> = {
  '/instances': { GET: { handler: listInstances }, PATCH: { handler: patchInstances } },
  // Two names that could be ids of instances, but never are.
  '/instances/status/history': { GET: { handler: listStatusHistory } },
  '/instances/pricing/history': { GET: { handler: listPricingHistory } },
  '/instances/:fid/status': { GET: { handler: getInstanceStatus } },
  '/instances/:fid/refresh-boot-disk': { POST: { handler: refreshBootDisk } },

  '/spot/availability': { GET: { handler: listAvailability } },
  '/spot/bids': { GET: { handler: listBids }, POST: { handler: createBid, status: 201 } },
  '/spot/bids/:fid': { GET: { handler: getBid }, PATCH: { handler: updateBid }, DELETE: { handler: cancelBid, status: 204 } },
  '/spot/bids/:fid/status': { GET: { handler: getBidStatus } },
  '/spot/bids/:fid/history': { GET: { handler: getBidHistory } },

  '/reservation': { GET: { handler: listReservations }, POST: { handler: createReservation, status: 201 } },
  '/reservation/quote': { GET: { handler: getQuote } },
  '/reservation/availability': { GET: { handler: getReservationAvailability } },
  '/reservation/instance-types': { GET: { handler: listInstanceTypes } },
  '/reservation/:fid': { PATCH: { handler: updateReservation } },
  '/reservation/:fid/extend': { POST: { handler: extendReservation } },
  '/reservation/:fid/extension-availability': { GET: { handler: getExtensionAvailability } },
  '/reservation/:fid/terminate-instances': { POST: { handler: terminateInstances } },
  '/reservation/:fid/history': { GET: { handler: getReservationHistory } },
  '/reservation/:fid/usage': { GET: { handler: getReservationUsage } },

  '/pricing/current': { GET: { handler: getCurrentPrices } },
  '/pricing/history': { GET: { handler: listPrices } },

  '/me': { GET: { handler: getMe } },
  '/me/teammates': { GET: { handler: listTeammates } },
  '/projects': { GET: { handler: listProjects } },
  '/instance-types': { GET: { handler: listInstanceTypes } },
  '/image-versions': { GET: { handler: listImageVersions } },
  '/mcc-image-versions': { GET: { handler: listClusterImageVersions } },
  '/quotas': { GET: { handler: listQuotas } },
  '/api-keys': { GET: { handler: listApiKeys }, POST: { handler: createApiKey, status: 201 } },
  '/api-keys/:fid': { DELETE: { handler: deleteApiKey, status: 204 } },
  '/ssh-keys': { GET: { handler: listSshKeys }, POST: { handler: createSshKey, status: 201 } },
  '/ssh-keys/:fid': { PATCH: { handler: updateSshKey }, DELETE: { handler: deleteSshKey, status: 204 } },
  '/volumes': { GET: { handler: listVolumes }, POST: { handler: createVolume, status: 201 } },
  '/volumes/:fid': { PATCH: { handler: updateVolume }, DELETE: { handler: deleteVolume, status: 204 } },

  '/kubernetes/clusters': { GET: { handler: listClusters }, POST: { handler: refuseToMake } },
  '/kubernetes/clusters/:fid': { GET: { handler: clusterMissing }, DELETE: { handler: clusterMissing } },
  '/lifecycle-scripts': { GET: { handler: listScripts }, POST: { handler: refuseToMake } },
  '/lifecycle-scripts/:fid': { PATCH: { handler: scriptMissing }, DELETE: { handler: scriptMissing } },
  '/lifecycle-scripts/:fid/content': { GET: { handler: scriptMissing } },
}

async function mithrilRoutes(app: FastifyInstance, options: DialectOptions): Promise<void> {
  const { engine, catalogue, stateDir, stopping, now } = options
  const notes = new SideNotes(stateDir)
  const signals = new Signals({ engine, notes, stopping, log: app.log })
  const surface: Surface = { engine, catalogue, notes, signals, now }
  installSurface(app, options, Object.keys(ROUTES))
  installBodyParser(app)
  for (const [url, routes] of Object.entries(ROUTES)) {
    for (const [method, { handler, status = 200 }] of Object.entries(routes)) {
      app.route({
        method,
        url,
        handler: async (request, reply) => {
          reply.code(status)
          const body = await handler(surface, request, reply)
          return status === 204 ? reply.send() : reply.header('content-type', 'application/json').send(body)
        },
      })
    }
    const allowed = Object.keys(routes)
    app.route({
      method: METHODS.filter(method => !allowed.includes(String(method))) as HTTPMethods[],
      url,
      config: { mithrilPublic: true },
      handler: (_request, reply) => sendWireError(reply.header('allow', allowed.join(', ')), presentError(httpError(405, 'Method Not Allowed'))),
    })
  }
}

export const mithrilDialect: Dialect = { name: DIALECT, prefix: PREFIX, plugin: mithrilRoutes, presentError }
