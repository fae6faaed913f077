/** Instances and their events on the Koyeb wire. */
import type { Catalogue } from '../../instance/catalogue.ts'
import { regionsOf, typesOf } from '../../instance/catalogue.ts'
import type { InstanceFilter } from '../../engine/api.ts'
import { AWAITS_CHECKS, CHECKS_PASS } from '../../instance/health.ts'
import type { Instance, InstanceEvent } from '../../instance/model.ts'
import type { Phase } from '../../instance/phase.ts'
import { PHASES } from '../../instance/phase.ts'
import { koyebWords } from '../../instance/projection.ts'
import { ANNOTATION } from '../../instance/service.ts'
import { allocationId, derivedId, placeOf } from './ids.ts'
import type * as wire from './schema.ts'
import { formatNullableTime, formatTime } from './timestamp.ts'

/** The type of events that are no step: what the server noted about an instance. */
const NOTE = 'NOTE'
/** Of the step into a run that waits for its health checks. */
const STARTED = 'STARTED'
const HEALTHY = koyebWords('running').event
const SIMULATED = 'Instance is simulated: it only pretends to run'
const ENDED: readonly Phase[] = ['stopped', 'preempted', 'failed', 'deleted']

/** One that runs and waits for its health checks is on its way still. */
export function presentStatus({ phase, health }: Pick<Instance, 'phase' | 'health'>): wire.InstanceStatus {
  return isChecking({ phase, health: health ?? null }) ? 'STARTING' : koyebWords(phase).status
}

function isChecking({ phase, health }: Pick<Instance, 'phase' | 'health'>): boolean {
  return phase === 'running' && health?.status === 'starting'
}

/** Which instances have one of these statuses. */
export function filterOfStatuses(statuses: readonly wire.InstanceStatus[]): Pick<InstanceFilter, 'running'> & { readonly phases: readonly Phase[] } {
  const [starting, healthy] = [statuses.includes('STARTING'), statuses.includes('HEALTHY')]
  const phases = [...new Set([...statuses.flatMap(status => phasesOfStatus(status)), ...(starting ? (['running'] as const) : [])])]
  return starting === healthy ? { phases } : { phases, running: starting ? 'checking' : 'checked' }
}

export function phasesOfStatus(status: wire.InstanceStatus): readonly Phase[] {
  return PHASES.filter(phase => koyebWords(phase).status === status)
}

export function presentListItem(instance: Instance, catalogue: Catalogue): wire.InstanceListItem {
  const place = placeOf(instance)
  const status = presentStatus(instance)
  const region = regionOf(instance, catalogue)
  return {
    id: instance.id,
    created_at: formatTime(instance.createdAt),
    updated_at: formatTime(Math.max(instance.phaseSince, instance.health?.since ?? 0)),
    organization_id: instance.projectId,
    app_id: place.app,
    service_id: place.service,
    regional_deployment_id: place.set,
    allocation_id: status === 'ALLOCATING' ? '' : allocationId(instance.id),
    type: typeOf(instance, catalogue),
    replica_index: place.index,
    region,
    datacenter: datacenterOf(region),
    status,
    messages: messagesOf(instance),
    xyz_deployment_id: place.deployment,
  }
}

export function presentInstance(instance: Instance, catalogue: Catalogue): wire.Instance {
  return {
    ...presentListItem(instance, catalogue),
    hypervisor: instance.hostId ?? '',
    started_at: formatNullableTime(instance.startedAt),
    succeeded_at: formatNullableTime(instance.health === undefined || instance.health === null ? instance.startedAt : instance.health.passedAt),
    terminated_at: ENDED.includes(instance.phase) ? formatTime(instance.phaseSince) : null,
  }
}

export function presentEvent(event: InstanceEvent): wire.InstanceEvent {
  const words = koyebWords(event.to)
  const isStep = event.kind === 'phase'
  const checked = checkedEvent(event)
  if (checked !== null) return checked
  return {
    id: derivedId(`koyeb:event:${event.seq}`),
    when: formatTime(event.at),
    organization_id: event.projectId,
    instance_id: event.instanceId,
    type: isStep ? words.event : NOTE,
    message: isStep ? sentence(`Instance ${words.sentence}`, event.reason) : (event.reason ?? ''),
    metadata: isStep
      ? { ...(event.from === null ? {} : { from: koyebWords(event.from).event }), to: words.event, status: words.status }
      : { status: words.status },
  }
}

/** What the health checks have to do with it: it runs and waits for them, or they pass. */
function checkedEvent(event: InstanceEvent): wire.InstanceEvent | null {
  const common = { id: derivedId(`koyeb:event:${event.seq}`), when: formatTime(event.at), organization_id: event.projectId, instance_id: event.instanceId }
  if (event.kind === 'phase' && event.to === 'running' && event.reason === AWAITS_CHECKS) {
    const metadata = { ...(event.from === null ? {} : { from: koyebWords(event.from).event }), to: STARTED, status: 'STARTING' }
    return { ...common, type: STARTED, message: 'Instance runs and waits for its health checks', metadata }
  }
  if (event.kind !== 'note' || event.reason !== CHECKS_PASS) return null
  const { event: type, status } = koyebWords('running')
  return { ...common, type, message: 'Instance is healthy: its health checks pass', metadata: { from: STARTED, to: type, status } }
}

/** What the engine is asked for where only some types are wanted; null if no event has any of them. */
export function eventsOfTypes(types: readonly string[]): { readonly kinds: readonly InstanceEvent['kind'][]; readonly toPhases: readonly Phase[] } | null {
  const toPhases = PHASES.filter(phase => types.includes(koyebWords(phase).event) || (phase === 'running' && types.includes(STARTED)))
  const kinds = [...(toPhases.length > 0 ? (['phase'] as const) : []), ...(types.includes(NOTE) || types.includes(HEALTHY) ? (['note'] as const) : [])]
  return kinds.length === 0 ? null : { kinds, toPhases }
}

/** The region that Koyeb's clients call this machine by. */
export function homeRegion(catalogue: Catalogue): string {
  const regions = regionsOf(catalogue, 'koyeb')
  return (regions.find(region => region.simulated === null) ?? regions[0])?.names.koyeb ?? 'local'
}

export function datacenterOf(region: string): string {
  return `${region}1`
}

function regionOf(instance: Instance, catalogue: Catalogue): string {
  const given = instance.annotations[ANNOTATION.region]
  if (given !== undefined) return given
  const region = catalogue.regions.find(({ id }) => id === instance.spec.place?.region)
  return region?.names.koyeb ?? homeRegion(catalogue)
}

/** The catalogue's name of what it has, or `custom`. */
function typeOf(instance: Instance, catalogue: Catalogue): string {
  const given = instance.annotations[ANNOTATION.type]
  if (given !== undefined) return given
  const { vcpus, memoryBytes, place } = instance.spec
  const placed = catalogue.types.find(({ id }) => id === place?.type)?.names.koyeb
  if (placed !== undefined) return placed
  return typesOf(catalogue, 'koyeb').find(type => type.vcpus === vcpus && type.memoryBytes === memoryBytes)?.names.koyeb ?? 'custom'
}

function messagesOf(instance: Instance): readonly string[] {
  const doing = isChecking(instance) ? 'runs' : koyebWords(instance.phase).sentence
  const now = sentence(`Instance ${instance.spec.name} ${doing}`, instance.reason ?? instance.exit?.message ?? null)
  return instance.spec.place?.isSimulated === true ? [now, SIMULATED] : [now]
}

function sentence(text: string, reason: string | null): string {
  return reason === null ? text : `${text}: ${reason}`
}
