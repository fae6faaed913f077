/** Reading instances and their events: everything is answered from the store, nothing asks a VM. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { EventFilter, InstanceFilter } from '../../engine/api.ts'
import { isUuidV4 } from '../../instance/ids.ts'
import type { InstanceId } from '../../instance/model.ts'
import type { Phase } from '../../instance/phase.ts'
import { ANNOTATION } from '../../instance/service.ts'
import type { Identity } from '../dialect.ts'
import type { DefaultIds } from './ids.ts'
import { defaultIds, instanceOfAllocation } from './ids.ts'
import { eventsOfTypes, filterOfStatuses, phasesOfStatus, presentEvent } from './present.ts'
import { queryEnums, queryInteger, queryList, queryPaging, queryText, queryTime } from './query.ts'
import * as wire from './schema.ts'
import type { Surface } from './surface.ts'
import { callerOf, instanceIdOf } from './surface.ts'

const JSON_TYPE = 'application/json; charset=utf-8'

export async function listInstances(surface: Surface, request: FastifyRequest, reply: FastifyReply): Promise<string | wire.ListInstancesReply> {
  const caller = callerOf(request)
  const { limit, offset, order } = queryPaging(request)
  const filter = instanceFilter(request, caller)
  if (filter === null) return { instances: [], limit, offset, count: 0, order }
  const page = { ...filter, limit, offset, order: order === 'asc' ? 'oldest-first' : 'newest-first' } as const
  const [instances, count] = await Promise.all([surface.engine.instances.list(caller, page), surface.engine.instances.count(caller, filter)])
  void reply.type(JSON_TYPE)
  const items = instances.map(instance => surface.bytes.item(instance)).join(',')
  return `{"instances":[${items}],"limit":${limit},"offset":${offset},"count":${count},"order":"${order}"}`
}

export async function getInstance(surface: Surface, request: FastifyRequest, reply: FastifyReply): Promise<string> {
  const instance = await surface.engine.instances.get(callerOf(request), instanceIdOf(request))
  void reply.type(JSON_TYPE)
  return `{"instance":${surface.bytes.whole(instance)}}`
}

export async function listInstanceEvents(surface: Surface, request: FastifyRequest): Promise<wire.ListInstanceEventsReply> {
  const caller = callerOf(request)
  const { limit, offset, order } = queryPaging(request)
  const filter = eventFilter(request)
  const asked = { limit: limit + 1, offset, order: order === 'asc' ? 'oldest-first' : 'newest-first' } as const
  const found = filter === null ? [] : await surface.engine.events.list(caller, { ...filter, ...asked })
  const types = queryList(request, 'types')
  // The engine knows kinds and phases; some of those tell of other types too.
  const events = found.slice(0, limit).map(presentEvent).filter(event => types?.includes(event.type) ?? true)
  return { events, limit, offset, order, has_next: found.length > limit }
}

const SCOPES = [
  ['app_id', 'app', ANNOTATION.app],
  ['service_id', 'service', ANNOTATION.service],
  ['deployment_id', 'deployment', ANNOTATION.deployment],
  ['regional_deployment_id', 'set', ANNOTATION.set],
] as const satisfies readonly (readonly [string, keyof DefaultIds, string])[]

/** What the request's filters mean to the engine; null if nothing can match. */
export function scopeFilter(request: FastifyRequest, caller: Pick<Identity, 'projectId'>): InstanceFilter | null {
  const defaults = defaultIds(caller.projectId)
  const annotations: Record<string, string> = {}
  let isDefault = false
  for (const [parameter, level, annotation] of SCOPES) {
    const id = queryText(request, parameter)
    if (id === defaults[level]) isDefault = true
    else if (id !== null) annotations[annotation] = id
  }
  if (!isDefault) return { annotations }
  return Object.keys(annotations).length > 0 ? null : { lacksAnnotation: ANNOTATION.service }
}

function instanceFilter(request: FastifyRequest, caller: Identity): InstanceFilter | null {
  const statuses = queryEnums(request, 'statuses', wire.INSTANCE_STATUSES)
  const index = queryInteger(request, 'replica_index')
  const from = queryTime(request, 'starting_time')
  const until = queryTime(request, 'ending_time')
  const allocation = queryText(request, 'allocation_id')
  const scope = scopeFilter(request, caller)
  if (scope === null) return null
  const placed = index === null ? scope : withIndex(scope, index)
  const allocated = allocation === null ? null : instanceOfAllocation(allocation)
  if (placed === null || (allocation !== null && allocated === null)) return null
  const { phases = null, ...ofRunning } = statuses === null ? {} : filterOfStatuses(statuses)
  const allocatedPhases = allocated === null ? phases : withoutAllocating(phases)
  return {
    ...placed,
    ...ofRunning,
    ...(allocatedPhases === null ? {} : { phases: allocatedPhases }),
    // Leaving deleted ones out lets the index of the living answer.
    includeDeleted: allocatedPhases === null || allocatedPhases.includes('deleted'),
    ...(allocated === null ? {} : { ids: [allocated] }),
    ...(from === null && until === null ? {} : { lived: { from, until } }),
  }
}

/** Instances that no service made all stand in slot 0. */
function withIndex(scope: InstanceFilter, index: number): InstanceFilter | null {
  if (scope.lacksAnnotation !== undefined) return index === 0 ? scope : null
  const isService = Object.keys(scope.annotations ?? {}).length > 0
  const wanted = { [ANNOTATION.index]: String(index) }
  return index === 0 && !isService ? { ...scope, annotationsOrAbsent: wanted } : { ...scope, annotations: { ...scope.annotations, ...wanted } }
}

/** What is ALLOCATING shows no allocation yet. */
function withoutAllocating(phases: readonly Phase[] | null): readonly Phase[] {
  const shown = wire.INSTANCE_STATUSES.filter(status => status !== 'ALLOCATING').flatMap(status => phasesOfStatus(status))
  return phases === null ? shown : shown.filter(phase => phases.includes(phase))
}

function eventFilter(request: FastifyRequest): EventFilter | null {
  const ids = queryList(request, 'instance_ids')
  const types = queryList(request, 'types')
  const wanted = types === null ? {} : eventsOfTypes(types)
  if (wanted === null) return null
  return { ...wanted, ...(ids === null ? {} : { instanceIds: ids.filter(isUuidV4) as InstanceId[] }) }
}
