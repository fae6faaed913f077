/** Apps, services, deployments and regional deployments: what CLI and SDKs call before they come to instances. */
import type { FastifyRequest } from 'fastify'
import type { Caller, NewDeployment } from '../../engine/api.ts'
import { BerthError } from '../../instance/errors.ts'
import type { Phase } from '../../instance/phase.ts'
import { ANNOTATION } from '../../instance/service.ts'
import type { App, Deployment, ReplicaSet, ServiceEvent, ServiceRecordKind, ServiceRecords } from '../../instance/service.ts'
import type { Identity } from '../dialect.ts'
import { acceptDefinition, acceptLifeCycle, acceptName, acceptScalings, SERVICE_TYPES } from './accept.ts'
import type { Json } from './body.ts'
import { asFlag, asObject, asText, readBody, requiredText } from './body.ts'
import { fieldError } from './errors.ts'
import { presentInstance } from './present.ts'
import type { ServiceView } from './present-services.ts'
import {
  defaultView,
  DEPLOYMENT_STATUSES,
  deploymentStatus,
  presentApp,
  presentDeployment,
  presentRegionalDeployment,
  presentService,
  presentServiceEvent,
  SERVICE_STATUSES,
  serviceStatus,
} from './present-services.ts'
import { queryBoolean, queryEnums, queryInteger, queryList, queryPaging, queryText } from './query.ts'
import { requireSecrets } from './secrets.ts'
import type { Surface } from './surface.ts'
import { withVolumes } from './volumes.ts'
import { callerOf, pathParameter } from './surface.ts'

/** Instances that the scaling of one deployment shows. */
const SCALING_LIMIT = 1000
const ZERO_UUID = '00000000-0000-4000-8000-000000000000'

// --- apps -----------------------------------------------------------------------------------------------------

export async function listApps(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const name = queryText(request, 'name')
  const apps = (await withDefault(surface, caller, 'app', { liveOnly: true })).filter(app => name === null || app.name === name)
  const { items, ...envelope } = pageOf(request, apps)
  return { apps: await Promise.all(items.map(app => shownApp(surface, caller, app))), ...envelope }
}

export async function getApp(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  return { app: await shownApp(surface, caller, await find(surface, caller, 'app', pathParameter(request, 'id'))) }
}

export async function createApp(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const body = readBody(request)
  const removeWhenEmpty = asFlag('life_cycle.delete_when_empty', asObject('life_cycle', body['life_cycle'])['delete_when_empty'])
  const app = await surface.engine.services.createApp(caller, { name: acceptName('name', body['name']), removeWhenEmpty })
  return { app: presentApp(app, []) }
}

export async function updateApp(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const body = readBody(request)
  const cycle = body['life_cycle'] === undefined ? null : asObject('life_cycle', body['life_cycle'])
  const id = changeable(caller, surface, pathParameter(request, 'id'))
  const app = await surface.engine.services.updateApp(caller, id, {
    ...(body['name'] === undefined ? {} : { name: acceptName('name', body['name']) }),
    ...(cycle === null ? {} : { removeWhenEmpty: asFlag('life_cycle.delete_when_empty', cycle['delete_when_empty']) }),
  })
  return { app: await shownApp(surface, caller, app) }
}

export async function deleteApp(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  await surface.engine.services.deleteApp(caller, changeable(caller, surface, pathParameter(request, 'id')))
  return {}
}

export const pauseApp = onServicesOfApp((surface, caller, id) => surface.engine.services.pause(caller, id))
export const resumeApp = onServicesOfApp((surface, caller, id) => surface.engine.services.resume(caller, id))

function onServicesOfApp(act: (surface: Surface, caller: Identity, serviceId: string) => Promise<unknown>) {
  return async (surface: Surface, request: FastifyRequest): Promise<Json> => {
    const caller = callerOf(request)
    const app = await find(surface, caller, 'app', changeable(caller, surface, pathParameter(request, 'id')))
    const services = await surface.engine.services.list(caller, 'service', { appId: app.id, liveOnly: true })
    for (const service of services) if (service.desired !== 'deleted') await act(surface, caller, service.id)
    return {}
  }
}

// --- services -------------------------------------------------------------------------------------------------

export async function listServices(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const types = queryEnums(request, 'types', ['INVALID_TYPE', 'DATABASE', ...SERVICE_TYPES])
  const statuses = queryEnums(request, 'statuses', SERVICE_STATUSES)
  const regions = queryList(request, 'regions')
  const [appId, name] = [queryText(request, 'app_id'), queryText(request, 'name')]
  const services = await withDefault(surface, caller, 'service', { liveOnly: true, ...(appId === null ? {} : { appId }) })
  const wanted = services.filter(
    service => (appId === null || service.appId === appId) && (name === null || service.name === name) && (types?.includes(service.kind as 'WEB') ?? true),
  )
  // Status and regions are known from the deployments, so without a filter only those of the page are read.
  const isPlain = statuses === null && regions === null
  const views = isPlain ? null : await Promise.all(wanted.map(service => viewOf(surface, caller, service)))
  const matching = views?.filter(view => (statuses?.includes(serviceStatus(view)) ?? true) && (regions === null || isIn(view, regions)))
  const { items, ...envelope } = pageOf(request, matching?.map(view => view.service) ?? wanted)
  return { services: await Promise.all(items.map(async service => presentService(await viewOf(surface, caller, service)))), ...envelope }
}

export async function getService(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const service = await find(surface, caller, 'service', pathParameter(request, 'id'))
  return { service: presentService(await viewOf(surface, caller, service)) }
}

export async function createService(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const body = readBody(request)
  const accepted = acceptDefinition(body['definition'], surface.catalogue)
  await requireSecrets(surface, caller, accepted.deployment, body['definition'])
  const appId = requiredText('app_id', body['app_id'])
  const deployment = await withVolumes(surface, caller, accepted.deployment, null)
  const wanted = { ...accepted, deployment, appId, ...acceptLifeCycle(body['life_cycle']) }
  // A client asks so with the id of an app that is nobody's.
  if (queryBoolean(request, 'dry_run') === true) return { service: dryService(surface, caller, appId, accepted.name, accepted.kind) }
  await requireCapacity(surface, caller, accepted.deployment)
  const made = await surface.engine.services.create(caller, wanted)
  return { service: presentService({ service: made.service, latest: made.deployment, active: null }) }
}

/** Of what comes in slots there must be enough now; for CPU and memory of this machine a replica may wait. */
async function requireCapacity(surface: Surface, caller: Caller, { sets }: NewDeployment): Promise<void> {
  const capacity = await surface.engine.capacity(caller)
  for (const { template: { place = null }, replicas, region, type } of sets) {
    const known = surface.catalogue.types.find(({ id }) => id === place?.type)
    if (place === null || known === undefined || (!place.isSimulated && known.gpu === null)) continue
    const free = capacity.find(line => line.region === place.region && line.type === place.type)?.free ?? 0
    if (free < replicas) throw new BerthError('insufficient_resources', `The region ${region} has ${free} of ${type} free, and ${replicas} are needed: choose another region or type.`)
  }
}

/** PUT and PATCH: a new deployment of what is given. */
export async function updateService(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const body = readBody(request)
  const id = changeable(caller, surface, pathParameter(request, 'id'))
  const before = await find(surface, caller, 'service', id)
  const latest = await find(surface, caller, 'deployment', before.latestDeploymentId)
  const merged = request.method === 'PATCH' ? { ...(latest.definition as Json), ...asObject('definition', body['definition']) } : body['definition']
  const accepted = acceptDefinition(merged, surface.catalogue)
  await requireSecrets(surface, caller, accepted.deployment, merged)
  const deployment = await withVolumes(surface, caller, accepted.deployment, id)
  if (accepted.name !== before.name) throw fieldError('definition.name', 'the name of a service does not change')
  if (queryBoolean(request, 'dry_run') === true) return { service: presentService(await viewOf(surface, caller, before)) }
  const cycle = body['life_cycle'] === undefined ? {} : acceptLifeCycle(body['life_cycle'])
  await requireCapacity(surface, caller, accepted.deployment)
  const { service } = await surface.engine.services.deploy(caller, id, deployment, cycle)
  return { service: presentService(await viewOf(surface, caller, service)) }
}

export async function redeployService(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const id = changeable(caller, surface, pathParameter(request, 'id'))
  const before = await find(surface, caller, 'service', id)
  const latest = await find(surface, caller, 'deployment', before.latestDeploymentId)
  const wanted = await withVolumes(surface, caller, acceptDefinition(latest.definition, surface.catalogue).deployment, id)
  const { deployment } = await surface.engine.services.deploy(caller, id, wanted)
  return { deployment: presentDeployment(deployment, hostOf(request)) }
}

export async function deleteService(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  await surface.engine.services.delete(caller, changeable(caller, surface, pathParameter(request, 'id')))
  return {}
}

export async function pauseService(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const id = pathParameter(request, 'id')
  if (isLoose(surface, caller, id)) await moveLoose(surface, caller, 'sleep')
  else await surface.engine.services.pause(caller, id)
  return {}
}

export async function resumeService(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const id = pathParameter(request, 'id')
  if (isLoose(surface, caller, id)) await moveLoose(surface, caller, 'wake')
  else await surface.engine.services.resume(caller, id)
  return {}
}

export async function getScale(surface: Surface, request: FastifyRequest): Promise<Json> {
  const service = await find(surface, callerOf(request), 'service', pathParameter(request, 'id'))
  const scalings = Object.entries(service.scale ?? {}).map(([region, instances]) => ({ scopes: region === '*' ? [] : [`region:${region}`], instances }))
  return { scalings }
}

export async function putScale(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  await surface.engine.services.scale(caller, changeable(caller, surface, pathParameter(request, 'id')), acceptScalings(readBody(request)))
  return {}
}

export async function deleteScale(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  await surface.engine.services.scale(caller, changeable(caller, surface, pathParameter(request, 'id')), null)
  return {}
}

// --- deployments ----------------------------------------------------------------------------------------------

export async function listDeployments(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const statuses = queryEnums(request, 'statuses', DEPLOYMENT_STATUSES)
  const [appId, serviceId] = [queryText(request, 'app_id'), queryText(request, 'service_id')]
  const all = await withDefault(surface, caller, 'deployment', { ...(appId === null ? {} : { appId }), ...(serviceId === null ? {} : { serviceId }) })
  const wanted = all.filter(
    one => (appId === null || one.appId === appId) && (serviceId === null || one.serviceId === serviceId) && (statuses?.includes(deploymentStatus(one)) ?? true),
  )
  const { items, ...envelope } = pageOf(request, wanted)
  return { deployments: items.map(one => presentDeployment(one, hostOf(request))), ...envelope }
}

export async function getDeployment(surface: Surface, request: FastifyRequest): Promise<Json> {
  return { deployment: presentDeployment(await find(surface, callerOf(request), 'deployment', pathParameter(request, 'id')), hostOf(request)) }
}

export async function cancelDeployment(surface: Surface, request: FastifyRequest): Promise<Json> {
  await surface.engine.services.cancelDeployment(callerOf(request), pathParameter(request, 'id'))
  return {}
}

/** Every replica with all of its incarnations. */
export async function getDeploymentScaling(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const deployment = await find(surface, caller, 'deployment', pathParameter(request, 'id'))
  const [region, index] = [queryText(request, 'region'), queryInteger(request, 'replica_index')]
  const isDefault = deployment.id === defaultView(caller.projectId, surface.catalogue).deployment.id
  const scope = isDefault ? { lacksAnnotation: ANNOTATION.service } : { annotations: { [ANNOTATION.deployment]: deployment.id } }
  const instances = await surface.engine.instances.list(caller, { ...scope, includeDeleted: true, limit: SCALING_LIMIT })
  const shown = instances.map(instance => presentInstance(instance, surface.catalogue))
  const wanted = shown.filter(one => (region === null || one.region === region) && (index === null || one.replica_index === index))
  const groups = Map.groupBy(wanted, one => `${one.region}/${one.replica_index}`)
  const replicas = [...groups.values()].map(group => ({ region: group[0]?.region ?? '', replica_index: group[0]?.replica_index ?? 0, instances: group }))
  return { replicas: replicas.toSorted((a, b) => a.region.localeCompare(b.region) || a.replica_index - b.replica_index) }
}

export async function listRegionalDeployments(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const id = queryText(request, 'deployment_id')
  const [appId, serviceId] = [queryText(request, 'app_id'), queryText(request, 'service_id')]
  const all = id === null ? await withDefault(surface, caller, 'deployment', {}) : await findAll(surface, caller, id)
  const wanted = all.filter(one => (appId === null || one.appId === appId) && (serviceId === null || one.serviceId === serviceId))
  const { items, ...envelope } = pageOf(request, wanted.flatMap(deployment => deployment.sets.map(set => ({ deployment, set }))))
  return { regional_deployments: items.map(({ deployment, set }) => presentRegionalDeployment(deployment, set)), ...envelope }
}

export async function getRegionalDeployment(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const id = pathParameter(request, 'id')
  const all = await withDefault(surface, caller, 'deployment', {})
  const found = all.flatMap((deployment): readonly [Deployment, ReplicaSet][] => deployment.sets.filter(set => set.id === id).map(set => [deployment, set]))[0]
  if (found === undefined) throw new BerthError('not_found', 'There is no such regional deployment.')
  return { regional_deployment: presentRegionalDeployment(...found) }
}

// --- events ---------------------------------------------------------------------------------------------------

export function eventsOf(kind: ServiceEvent['kind'], parameter: string) {
  return async (surface: Surface, request: FastifyRequest): Promise<Json> => {
    const { limit, offset, order } = queryPaging(request)
    const [subjectId, types] = [queryText(request, parameter), queryList(request, 'types')]
    const events = await surface.engine.services.events(callerOf(request), {
      kind,
      limit: limit + 1,
      offset,
      order: order === 'asc' ? 'oldest-first' : 'newest-first',
      ...(subjectId === null ? {} : { subjectId }),
      ...(types === null ? {} : { types }),
    })
    return { events: events.slice(0, limit).map(presentServiceEvent), limit, offset, order, has_next: events.length > limit }
  }
}

// --- parts ----------------------------------------------------------------------------------------------------

/** The records of a project, newest first, and last those of the instances that no service made. */
async function withDefault<K extends ServiceRecordKind>(
  surface: Surface,
  caller: Identity,
  kind: K,
  filter: { readonly liveOnly?: boolean; readonly appId?: string; readonly serviceId?: string },
): Promise<readonly ServiceRecords[K][]> {
  const stored = await surface.engine.services.list(caller, kind, filter)
  const loose = await surface.engine.instances.list(caller, { lacksAnnotation: ANNOTATION.service, limit: 1 })
  return loose.length === 0 ? stored : [...stored, defaultView(caller.projectId, surface.catalogue)[kind] as ServiceRecords[K]]
}

export async function find<K extends ServiceRecordKind>(surface: Surface, caller: Identity, kind: K, id: string): Promise<ServiceRecords[K]> {
  const fallback = defaultView(caller.projectId, surface.catalogue)[kind] as ServiceRecords[K]
  return fallback.id === id ? fallback : surface.engine.services.get(caller, kind, id)
}

async function findAll(surface: Surface, caller: Identity, deploymentId: string): Promise<readonly Deployment[]> {
  try {
    return [await find(surface, caller, 'deployment', deploymentId)]
  } catch (error) {
    if (error instanceof BerthError && error.code === 'not_found') return []
    throw error
  }
}

/** Whether a service stands for the instances that no service made. */
function isLoose(surface: Surface, caller: Identity, serviceId: string): boolean {
  return serviceId === defaultView(caller.projectId, surface.catalogue).service.id
}

/** Puts the instances that no service made to sleep, or wakes them: what pausing and resuming means to them. */
async function moveLoose(surface: Surface, caller: Identity, to: 'sleep' | 'wake'): Promise<void> {
  const { instances } = surface.engine
  const phases = to === 'sleep' ? (['running', 'unhealthy'] as const) : (['standby'] as const)
  for (const { id } of await instances.list(caller, { lacksAnnotation: ANNOTATION.service, phases })) {
    try {
      await (to === 'sleep' ? instances.standby(caller, id) : instances.restore(caller, id))
    } catch (error) {
      // It moved by itself meanwhile.
      if (!(error instanceof BerthError && error.code === 'invalid_state')) throw error
    }
  }
}

/** The service of the instances that no service made is paused while all of them sleep. */
async function looseView(surface: Surface, caller: Identity): Promise<ServiceView> {
  const { instances } = surface.engine
  const view = defaultView(caller.projectId, surface.catalogue)
  const some = (phases: readonly Phase[]) => instances.list(caller, { lacksAnnotation: ANNOTATION.service, phases, limit: 1 }).then(found => found.length > 0)
  const [isAwake, isAsleep] = await Promise.all([some(['pending', 'allocated', 'preparing', 'starting', 'running', 'unhealthy', 'restoring', 'suspending']), some(['standby'])])
  if (isAwake || !isAsleep) return view
  const deployment = { ...view.deployment, state: 'stopped' } as const
  return { service: { ...view.service, desired: 'paused' }, latest: deployment, active: deployment }
}

/** An id whose record may change: that of the instances that no service made is not one. */
function changeable(caller: Identity, surface: Surface, id: string): string {
  const { app, service } = defaultView(caller.projectId, surface.catalogue)
  if (id === app.id || id === service.id) throw new BerthError('invalid_state', 'This stands for the instances that no service made; act on the instances themselves.')
  return id
}

export async function viewOf(surface: Surface, caller: Identity, service: ServiceRecords['service']): Promise<ServiceView> {
  if (isLoose(surface, caller, service.id)) return looseView(surface, caller)
  const latest = await find(surface, caller, 'deployment', service.latestDeploymentId)
  const { activeDeploymentId: activeId } = service
  return { service, latest, active: activeId === null ? null : activeId === latest.id ? latest : await find(surface, caller, 'deployment', activeId) }
}

async function shownApp(surface: Surface, caller: Identity, app: App): Promise<Json> {
  const services = await surface.engine.services.list(caller, 'service', { appId: app.id, liveOnly: true })
  const views = await Promise.all(services.map(service => viewOf(surface, caller, service)))
  return presentApp(app, views.map(serviceStatus))
}

function isIn(view: ServiceView, regions: readonly string[]): boolean {
  return view.latest?.sets.some(set => regions.includes(set.region)) ?? false
}

function pageOf<T>(request: FastifyRequest, all: readonly T[]) {
  const { limit, offset } = queryPaging(request)
  return { items: all.slice(offset, offset + limit), limit, offset, count: all.length, has_next: offset + limit < all.length }
}

/** Where the client reached us, without its port. */
function hostOf(request: FastifyRequest): string {
  return request.hostname
}

function dryService(surface: Surface, caller: Identity, appId: string, name: string, kind: string): Json {
  const { service } = defaultView(caller.projectId, surface.catalogue)
  const dry = { ...service, id: ZERO_UUID, appId, name: asText('definition.name', name), kind, activeDeploymentId: null, latestDeploymentId: '' }
  return presentService({ service: dry, latest: null, active: null })
}

