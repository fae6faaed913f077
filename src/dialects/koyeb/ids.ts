/**
 * Ids that Koyeb's wire needs and Berth doesn't keep: they follow from ids that are kept, so that they are the same
 * on every call and every server. All are lower-case UUID v4, the only form that its CLI takes for an id.
 *
 * An instance that no service made (`berth run`, another dialect) belongs to its project's default app, service and
 * deployment, whose ids follow from the project's id.
 */
import { createHash } from 'node:crypto'
import { isUuidV4 } from '../../instance/ids.ts'
import type { Instance, InstanceId, ProjectId } from '../../instance/model.ts'
import { ANNOTATION } from '../../instance/service.ts'

export interface DefaultIds {
  readonly app: string
  readonly service: string
  readonly deployment: string
  readonly set: string
}

/** A UUID v4 that follows from a text. */
export function derivedId(text: string): string {
  const hex = createHash('sha256').update(text).digest('hex')
  const variant = '89ab'[Number.parseInt(hex.charAt(16), 16) % 4] ?? '8'
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}

const known = new Map<ProjectId, DefaultIds>()
const KNOWN_LIMIT = 10_000

/** Of the instances that no service made. */
export function defaultIds(projectId: ProjectId): DefaultIds {
  const remembered = known.get(projectId)
  if (remembered !== undefined) return remembered
  const of = (what: string) => derivedId(`koyeb:${what}:${projectId}`)
  const made = { app: of('app'), service: of('service'), deployment: of('deployment'), set: of('regional-deployment') }
  if (known.size >= KNOWN_LIMIT) known.clear()
  known.set(projectId, made)
  return made
}

export interface Place {
  readonly app: string
  readonly service: string
  readonly deployment: string
  readonly set: string
  readonly index: number
}

/** Where an instance stands in Koyeb's hierarchy. */
export function placeOf(instance: Pick<Instance, 'projectId' | 'annotations'>): Place {
  const { annotations } = instance
  const fallback = defaultIds(instance.projectId)
  const service = annotations[ANNOTATION.service]
  if (service === undefined) return { ...fallback, index: 0 }
  const index = Number(annotations[ANNOTATION.index] ?? 0)
  return {
    app: annotations[ANNOTATION.app] ?? fallback.app,
    service,
    deployment: annotations[ANNOTATION.deployment] ?? fallback.deployment,
    set: annotations[ANNOTATION.set] ?? fallback.set,
    index: Number.isSafeInteger(index) && index >= 0 ? index : 0,
  }
}

/** The last twelve digits mirrored: another UUID v4, and the same again gives back the instance. */
export function allocationId(id: InstanceId): string {
  return mirrored(id)
}

export function instanceOfAllocation(text: string): InstanceId | null {
  return isUuidV4(text) ? (mirrored(text) as InstanceId) : null
}

function mirrored(id: string): string {
  // 48 bits are a whole number that a double holds.
  const turned = 0xffff_ffff_ffff - Number.parseInt(id.slice(24), 16)
  return id.slice(0, 24) + turned.toString(16).padStart(12, '0')
}
