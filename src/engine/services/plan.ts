/**
 * What to do about a service now: a pure decision from its record, its deployments and its instances. Called again
 * after each change, it leads to the wanted replicas.
 *
 *   deployment   pending ─▶ starting ─▶ healthy ◀─▶ degraded, unhealthy, sleeping ─▶ stopping ─▶ stopped
 *                    └──────────┴─▶ failed (its replicas keep dying, or can't be made)
 *
 * Policy: a slot has at most one living replica. One that died is removed and replaced, at once the first time and
 * after a growing pause from then on. A new deployment starts beside the old one, and the old one ends when all of
 * the new one's replicas serve; if the new one fails, the old one goes on. One with volumes can't start beside another:
 * the old one ends first, and a replica waits until nobody holds its volumes.
 */
import type { Instance, TimestampMs } from '../../instance/model.ts'
import { isServing } from '../../instance/phase.ts'
import type { Deployment, DeploymentState, ReplicaSet, Service, SlotDeaths } from '../../instance/service.ts'
import { ANNOTATION } from '../../instance/service.ts'

/** Deaths in a row that make a deployment fail, unless it has served for long. */
export const DEATHS_UNTIL_FAILED = 3
/** A replica that lived this long starts the count again; a deployment that did is not given up any more. */
export const STABLE_MS = 60_000
/** How long every replica of a new deployment must have served before the old deployment ends for it. */
export const SETTLE_MS = 2000
const FIRST_PAUSE_MS = 1000
const LONGEST_PAUSE_MS = 60_000

export interface Slot {
  readonly deployment: Deployment
  readonly set: ReplicaSet
  readonly index: number
}

export type ServiceAction =
  | { readonly kind: 'create'; readonly slot: Slot }
  | { readonly kind: 'delete'; readonly instance: Instance; readonly graceful: boolean }
  | { readonly kind: 'sleep'; readonly instance: Instance }

export interface Plan {
  /** Records to be written before the actions; only those that change. */
  readonly deployments: readonly Deployment[]
  readonly service: Service
  readonly actions: readonly ServiceAction[]
  /** When to look again even if nothing happens; null is never. */
  readonly lookAgainAt: TimestampMs | null
}

export interface Situation {
  readonly service: Service
  /** Those that are not over, newest first. */
  readonly deployments: readonly Deployment[]
  /** Those of the service that are not deleted. */
  readonly instances: readonly Instance[]
  readonly now: TimestampMs
  /** Since when nobody uses an instance; null while somebody does. */
  idleSince(instance: Instance): TimestampMs | null
}

export function planService(situation: Situation): Plan {
  const { service, now } = situation
  const expired = service.deleteAfterMs !== null && now >= service.createdAt + service.deleteAfterMs
  if (service.desired === 'deleted' || expired || hasSleptEnough(situation)) return planRemoval(situation, 'deleted')
  if (service.desired === 'paused') return planRemoval(situation, 'paused')
  return planRunning(situation)
}

/** How many replicas a set has: as was said by hand, else as autoscaling decided, else as its deployment has it. */
export function replicasOf(service: Service, deployment: Deployment, set: ReplicaSet): number {
  return scaledByHand(service, set) ?? deployment.autoscaled?.[set.id] ?? set.replicas
}

export function scaledByHand(service: Service, set: ReplicaSet): number | null {
  return service.scale?.[set.region] ?? service.scale?.['*'] ?? null
}

export function slotName(set: ReplicaSet, index: number): string {
  return `${set.id}/${index}`
}

/** When the next replica of a slot may be made. */
export function dueAfter(deaths: SlotDeaths | undefined): TimestampMs {
  if (deaths === undefined || deaths.count <= 1) return 0
  return deaths.lastAt + Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (deaths.count - 2))
}

function planRemoval(situation: Situation, to: 'paused' | 'deleted'): Plan {
  const { service, deployments, instances, now } = situation
  const left = instances.filter(instance => instance.desired !== 'deleted')
  const isEmpty = instances.length === 0
  const state: DeploymentState = isEmpty ? 'stopped' : 'stopping'
  const changed = deployments.map(deployment => {
    const isOver = isEmpty && to === 'deleted'
    return { ...deployment, state, message: to === 'paused' ? 'The service is paused.' : null, deaths: {}, dormant: {}, endedAt: isOver ? now : null }
  })
  const deleted: Service = { ...service, desired: 'deleted', deletedAt: isEmpty ? now : null }
  return {
    service: to === 'deleted' ? deleted : service,
    deployments: changed,
    actions: left.map(instance => ({ kind: 'delete', instance, graceful: true })),
    lookAgainAt: null,
  }
}

function planRunning(situation: Situation): Plan {
  const { service, deployments, instances, now } = situation
  const target = deployments.find(deployment => deployment.id === service.latestDeploymentId)
  const active = deployments.find(deployment => deployment.id === service.activeDeploymentId)
  const views = [target, active].filter((one, at, all) => one !== undefined && all.indexOf(one) === at).map(one => viewOf(situation, one as Deployment))
  const targetView = views.find(view => view.deployment.id === target?.id)
  const isProven = active === undefined || (targetView?.settledAt ?? Infinity) <= now
  const takesOver = targetView !== undefined && targetView.isUp && isProven && target?.id !== active?.id
  const makesWay = targetView?.deployment.endedAt === null && targetView.deployment.sets.some(({ template }) => (template.volumes ?? []).length > 0)
  const isReplaced = target?.id !== active?.id && (takesOver || makesWay)
  const staying = views.filter(view => view.deployment.endedAt === null && !(isReplaced && view.deployment.id === active?.id))
  const kept = new Set(staying.flatMap(view => view.kept.map(instance => instance.id)))
  const ended = deployments.filter(deployment => !staying.some(view => view.deployment.id === deployment.id))
  const surplus = instances.filter(instance => !kept.has(instance.id) && instance.desired !== 'deleted')
  const activeId = takesOver ? (target?.id ?? null) : service.activeDeploymentId
  return {
    service: { ...service, activeDeploymentId: activeId },
    deployments: [
      ...staying.map(view => view.deployment),
      ...ended.map(deployment => endedOf(deployment, views.find(view => view.deployment.id === deployment.id)?.deployment, instances, now)),
    ],
    actions: [
      ...surplus.map(instance => ({ kind: 'delete', instance, graceful: true }) as const),
      ...staying.flatMap(view => view.actions),
    ],
    lookAgainAt: earliest([
      ...staying.map(view => view.lookAgainAt),
      targetView?.isUp === true && !isProven ? targetView.settledAt : null,
      service.deleteAfterMs === null ? null : service.createdAt + service.deleteAfterMs,
      service.deleteAfterSleepMs === null ? null : sleepEnd(situation),
    ]),
  }
}

/** A deployment that was replaced, or failed: over once none of its instances is left. */
function endedOf(deployment: Deployment, view: Deployment | undefined, instances: readonly Instance[], now: TimestampMs): Deployment {
  if (view?.state === 'failed') return view
  const isEmpty = !instances.some(instance => instance.annotations[ANNOTATION.deployment] === deployment.id)
  return { ...deployment, state: isEmpty ? 'stopped' : 'stopping', endedAt: isEmpty ? now : null }
}

interface View {
  readonly deployment: Deployment
  /** All of its replicas serve, or sleep. */
  readonly isUp: boolean
  /** When all that live will have served for a while. */
  readonly settledAt: TimestampMs
  readonly kept: readonly Instance[]
  readonly actions: readonly ServiceAction[]
  readonly lookAgainAt: TimestampMs | null
}

function viewOf(situation: Situation, deployment: Deployment): View {
  const { service, instances, now } = situation
  const own = instances.filter(instance => instance.annotations[ANNOTATION.deployment] === deployment.id)
  const deaths: Record<string, SlotDeaths> = { ...deployment.deaths }
  const kept: Instance[] = []
  const actions: ServiceAction[] = []
  const looks: (TimestampMs | null)[] = []
  let message: string | null = null
  let slots = 0
  /** Of sets in deep sleep: what is not there, and is not missing. */
  let resting = 0
  const dormant: Record<string, TimestampMs> = { ...deployment.dormant }
  for (const set of deployment.sets) {
    const deepAt = deepSleepOf(situation, set, own)
    if (deepAt !== null && deepAt <= now && dormant[set.id] === undefined) dormant[set.id] = sleepingSince(own, set) ?? now
    else looks.push(deepAt)
    if (dormant[set.id] !== undefined) {
      slots += replicasOf(service, deployment, set)
      resting += replicasOf(service, deployment, set)
      continue
    }
    for (let index = 0; index < replicasOf(service, deployment, set); index++) {
      slots++
      const name = slotName(set, index)
      const inSlot = own.filter(instance => instance.annotations[ANNOTATION.set] === set.id && instance.annotations[ANNOTATION.index] === String(index))
      for (const dead of inSlot.filter(isDead)) {
        if (dead.phase !== 'deleting') message = deathOf(dead)
        if (deaths[name]?.instanceId !== dead.id && dead.desired !== 'deleted') deaths[name] = counted(deaths[name], dead)
      }
      const alive = inSlot.find(instance => !isDead(instance))
      if (alive !== undefined) {
        kept.push(alive)
        const sleep = sleepOf(situation, set, alive)
        if (sleep !== null && sleep <= now) actions.push({ kind: 'sleep', instance: alive })
        else looks.push(sleep)
        continue
      }
      // Its end is told.
      if (instances.some(holder => holdsVolumeOf(holder, set, index))) continue
      const due = dueAfter(deaths[name])
      if (due <= now) actions.push({ kind: 'create', slot: { deployment, set, index } })
      else looks.push(due)
    }
  }
  const worst = Math.max(0, ...Object.values(deaths).map(slot => slot.count))
  const isProven = deployment.succeededAt !== null && now - deployment.succeededAt >= STABLE_MS
  const failed = !isProven && worst >= DEATHS_UNTIL_FAILED
  const state = failed ? 'failed' : stateOf(deployment, kept, slots, resting)
  const isUp = state === 'healthy' || state === 'sleeping'
  const next: Deployment = {
    ...deployment,
    deaths,
    ...(Object.keys(dormant).length === 0 ? {} : { dormant }),
    state,
    message: isUp && worst === 0 ? null : (message ?? deployment.message),
    startedAt: deployment.startedAt ?? (kept.length > 0 ? now : null),
    succeededAt: deployment.succeededAt ?? (isUp ? now : null),
    endedAt: failed ? now : null,
  }
  const settledAt = Math.max(0, ...kept.map(instance => instance.startedAt ?? now)) + SETTLE_MS
  return { deployment: next, isUp, settledAt, kept: failed ? [] : kept, actions: failed ? [] : actions, lookAgainAt: earliest(looks) }
}

function stateOf(deployment: Deployment, alive: readonly Instance[], slots: number, resting: number): DeploymentState {
  const serving = alive.filter(takesConnections).length
  const sleeping = resting + alive.filter(instance => ['suspending', 'standby', 'restoring'].includes(instance.phase)).length
  if (serving + sleeping === slots) return sleeping > 0 && serving === 0 ? 'sleeping' : 'healthy'
  if (deployment.succeededAt === null) return alive.length === 0 ? 'pending' : 'starting'
  return serving + sleeping > 0 ? 'degraded' : 'unhealthy'
}

/** It serves, as far as its health checks know. */
export function takesConnections({ phase, health }: Pick<Instance, 'phase' | 'health'>): boolean {
  return isServing(phase) && phase !== 'unhealthy' && health?.status !== 'starting'
}

/** When the replicas of a set are to end for deep sleep: when the last of them has been idle for long enough; null if not. */
function deepSleepOf(situation: Situation, set: ReplicaSet, own: readonly Instance[]): TimestampMs | null {
  const deepMs = set.deepIdleMs ?? null
  const alive = own.filter(instance => instance.annotations[ANNOTATION.set] === set.id && !isDead(instance))
  if (deepMs === null || alive.length === 0) return null
  const idle = alive.map(instance => {
    // One that sleeps has been idle since before it fell asleep.
    if (instance.phase === 'standby') return instance.phaseSince - (set.idleMs ?? 0)
    if (instance.phase !== 'running') return null
    const since = situation.idleSince(instance)
    return since === null ? null : Math.max(since, instance.startedAt ?? since)
  })
  return idle.includes(null) ? null : Math.max(...idle.map(since => since ?? 0)) + deepMs
}

/** Since when all replicas of a set sleep; null where one is awake. */
function sleepingSince(own: readonly Instance[], set: ReplicaSet): TimestampMs | null {
  const alive = own.filter(instance => instance.annotations[ANNOTATION.set] === set.id && !isDead(instance))
  return alive.every(instance => instance.phase === 'standby') ? Math.max(...alive.map(instance => instance.phaseSince)) : null
}

/** It has ended by itself, or by somebody who is not the service: another takes its place. */
function isDead(instance: Instance): boolean {
  return ['stopping', 'stopped', 'preempting', 'preempted', 'failed', 'deleting'].includes(instance.phase) || instance.desired === 'deleted'
}

function counted(before: SlotDeaths | undefined, dead: Instance): SlotDeaths {
  // One whose health checks never passed has not lived.
  const health = dead.health ?? null
  const livedMs = dead.startedAt === null || (health !== null && health.passedAt === null) ? 0 : dead.phaseSince - dead.startedAt
  const count = livedMs >= STABLE_MS ? 1 : (before?.count ?? 0) + 1
  return { count, lastAt: dead.phaseSince, instanceId: dead.id }
}

/** Whether an instance has a volume that a replica needs for itself. */
function holdsVolumeOf({ spec }: Instance, set: ReplicaSet, index: number): boolean {
  const needed = (set.template.volumes ?? []).filter(volume => volume.replicaIndex === index)
  return needed.some(({ volumeId }) => spec.volumes.some(held => held.volumeId === volumeId))
}

function deathOf(dead: Instance): string {
  if (dead.health?.status === 'unhealthy' && dead.health.message !== null) return `The replica ${dead.spec.name} was ended. ${dead.health.message}`
  const how = dead.phase === 'failed' ? (dead.reason ?? 'it could not be started') : dead.exit === null ? 'it was stopped' : `exit code ${dead.exit.code} (${dead.exit.message})`
  return `The replica ${dead.spec.name} ended: ${how}`
}

/** When a replica is to fall asleep; null if it isn't. */
function sleepOf(situation: Situation, set: ReplicaSet, instance: Instance): TimestampMs | null {
  if (set.idleMs === null || instance.phase !== 'running') return null
  const since = situation.idleSince(instance)
  return since === null ? null : Math.max(since, instance.startedAt ?? since) + set.idleMs
}

/** When a service that sleeps as a whole is to be deleted; null if it doesn't sleep. */
function sleepEnd({ service, instances, deployments }: Situation): TimestampMs | null {
  const dormant = deployments.filter(deployment => deployment.id === service.activeDeploymentId).flatMap(({ dormant: since }) => Object.values(since ?? {}))
  if (service.deleteAfterSleepMs === null || instances.length + dormant.length === 0) return null
  if (!instances.every(instance => instance.phase === 'standby')) return null
  return Math.max(...instances.map(instance => instance.phaseSince), ...dormant) + service.deleteAfterSleepMs
}

function hasSleptEnough(situation: Situation): boolean {
  const end = sleepEnd(situation)
  return end !== null && situation.now >= end
}

function earliest(times: readonly (TimestampMs | null)[]): TimestampMs | null {
  const known = times.filter(time => time !== null)
  return known.length === 0 ? null : Math.min(...known)
}
