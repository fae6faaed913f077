/** The Koyeb dialect: its Instances API, and what its CLI, SDKs and console call on the way. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Dialect, DialectOptions } from '../dialect.ts'
import * as account from './account.ts'
import { installBodyParser } from './body.ts'
import * as catalog from './catalog.ts'
import { presentError } from './errors.ts'
import { execOverHttp, refuseLinks } from './exec-http.ts'
import { RUN_BODY_LIMIT_BYTES, runOverHttp } from './exec-run.ts'
import { serveExec } from './exec.ts'
import { InstanceBytes } from './instance-bytes.ts'
import { getInstance, listInstanceEvents, listInstances } from './instances.ts'
import { queryLogs, serveTail, tailOverHttp } from './logs.ts'
import { getMetrics } from './metrics.ts'
import * as instanceSnapshots from './instance-snapshots.ts'
import * as secrets from './secrets.ts'
import type { Surface } from './surface.ts'
import * as services from './services.ts'
import * as volumes from './volumes.ts'
import { DIALECT, installSurface } from './surface.ts'

type Handler = (surface: Surface, request: FastifyRequest, reply: FastifyReply) => Promise<unknown>

async function koyebRoutes(app: FastifyInstance, options: DialectOptions): Promise<void> {
  const surface: Surface = { engine: options.engine, options, catalogue: options.catalogue, bytes: new InstanceBytes(options.catalogue) }
  installSurface(app, options)
  installBodyParser(app)
  const route = (method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', url: string, handler: Handler): void => {
    app.route({ method, url, handler: (request, reply) => handler(surface, request, reply) })
  }
  const get = (url: string, handler: Handler) => route('GET', url, handler)
  serviceRoutes(route)
  accountRoutes(route)
  secretRoutes(route)
  volumeRoutes(route)
  get('/streams/logs/query', queryLogs)
  get('/streams/metrics', getMetrics)
  app.route({
    method: 'GET',
    url: '/streams/logs/tail',
    exposeHeadRoute: false,
    handler: (request, reply) => tailOverHttp(surface, request, reply),
    wsHandler: (socket, request) => void serveTail(surface, socket, request),
  })

  // A published capability of this API exposes the same four under other paths.
  for (const [instances, events, exec, isPublished] of [
    ['/instances', '/instance_events', '/streams/instances/exec', false],
    ['/v1/instances', '/v1/instance-events', '/v1/streams/instances/exec', true],
  ] as const) {
    get(instances, listInstances)
    get(`${instances}/:id`, getInstance)
    get(events, listInstanceEvents)
    app.route({
      method: 'GET',
      url: exec,
      exposeHeadRoute: false,
      handler: async (request, reply) => {
        void reply.header('cache-control', 'no-store')
        if (isPublished) refuseLinks(request)
        return execOverHttp(surface, request, reply)
      },
      // serveExec tells its own failures; nothing is left to be told here.
      wsHandler: (socket, request) => void serveExec(surface, socket, request),
    })
    app.route({ method: 'POST', url: exec, bodyLimit: RUN_BODY_LIMIT_BYTES, handler: (request, reply) => runOverHttp(surface, request, reply) })
  }
}

type Route = (method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', url: string, handler: Handler) => void

function serviceRoutes(route: Route): void {
  route('GET', '/apps', services.listApps)
  route('POST', '/apps', services.createApp)
  route('GET', '/apps/:id', services.getApp)
  route('PUT', '/apps/:id', services.updateApp)
  route('PATCH', '/apps/:id', services.updateApp)
  route('DELETE', '/apps/:id', services.deleteApp)
  route('POST', '/apps/:id/pause', services.pauseApp)
  route('POST', '/apps/:id/resume', services.resumeApp)

  route('GET', '/services', services.listServices)
  route('POST', '/services', services.createService)
  route('GET', '/services/:id', services.getService)
  route('PUT', '/services/:id', services.updateService)
  route('PATCH', '/services/:id', services.updateService)
  route('DELETE', '/services/:id', services.deleteService)
  route('POST', '/services/:id/pause', services.pauseService)
  route('POST', '/services/:id/resume', services.resumeService)
  route('POST', '/services/:id/redeploy', services.redeployService)
  route('GET', '/services/:id/scale', services.getScale)
  route('PUT', '/services/:id/scale', services.putScale)
  route('DELETE', '/services/:id/scale', services.deleteScale)

  route('GET', '/deployments', services.listDeployments)
  route('GET', '/deployments/:id', services.getDeployment)
  route('POST', '/deployments/:id/cancel', services.cancelDeployment)
  route('GET', '/deployment/:id/scaling', services.getDeploymentScaling)
  route('GET', '/regional_deployments', services.listRegionalDeployments)
  route('GET', '/regional_deployments/:id', services.getRegionalDeployment)

  route('GET', '/app_events', services.eventsOf('app', 'app_id'))
  route('GET', '/service_events', services.eventsOf('service', 'service_id'))
  route('GET', '/deployment_events', services.eventsOf('deployment', 'deployment_id'))
  route('GET', '/regional_deployment_events', services.eventsOf('set', 'regional_deployment_id'))
}

function volumeRoutes(route: Route): void {
  route('GET', '/volumes', volumes.listVolumes)
  route('POST', '/volumes', volumes.createVolume)
  route('GET', '/volumes/:id', volumes.getVolume)
  route('POST', '/volumes/:id', volumes.updateVolume)
  route('DELETE', '/volumes/:id', volumes.deleteVolume)

  route('GET', '/instance_snapshots', instanceSnapshots.listInstanceSnapshots)
  route('POST', '/instance_snapshots', instanceSnapshots.createInstanceSnapshot)
  route('GET', '/instance_snapshots/:id', instanceSnapshots.getInstanceSnapshot)
  route('DELETE', '/instance_snapshots/:id', instanceSnapshots.deleteInstanceSnapshot)
}

function secretRoutes(route: Route): void {
  route('GET', '/secrets', secrets.listSecrets)
  route('POST', '/secrets', secrets.createSecret)
  route('GET', '/secrets/:id', secrets.getSecret)
  route('PUT', '/secrets/:id', secrets.updateSecret)
  route('PATCH', '/secrets/:id', secrets.updateSecret)
  route('DELETE', '/secrets/:id', secrets.deleteSecret)
  route('POST', '/secrets/:id/reveal', secrets.revealSecret)
}

function accountRoutes(route: Route): void {
  route('GET', '/account/profile', account.getProfile)
  route('GET', '/account/organization', account.getOwnOrganization)
  route('GET', '/account/organizations', account.listOrganizations)
  route('GET', '/organization_members', account.listMembers)
  route('GET', '/organizations/:id', account.getOrganization)
  route('POST', '/organizations/:id/switch', account.switchOrganization)
  route('GET', '/organizations/:organization_id/quotas', account.getQuotas)
  route('GET', '/organizations/:organization_id/summary', account.getSummary)
  route('GET', '/projects', account.listProjects)
  route('GET', '/projects/:id', account.getProject)

  route('GET', '/catalog/instances', catalog.listCatalogInstances)
  route('GET', '/catalog/instances/:id', catalog.getCatalogInstance)
  route('GET', '/catalog/regions', catalog.listRegions)
  route('GET', '/catalog/regions/:id', catalog.getRegion)
  route('GET', '/catalog/datacenters', catalog.listDatacenters)
  route('GET', '/catalog/usage', catalog.getUsage)
}

export const koyebDialect: Dialect = { name: DIALECT, prefix: '/v1', plugin: koyebRoutes, presentError }
