/**
 * The loop that keeps services at what was asked for: one lane per service, each strictly serial. Whatever happens to
 * an instance of a service, or to its record, wakes its lane; the lane reads everything again and acts.
 *
 *   wake(id) ─▶ lane ─▶ read ─▶ plan ─▶ write what changed ─▶ act ─▶ again, while something was done
 *
 * Failure: what can't be made now (no room, an image that is away) is told in the deployment's message and tried
 * again after a pause; what can never be made fails the deployment. After a crash the records and the instances'
 * annotations say where to go on.
 */
import { randomBytes } from 'node:crypto'
import { asBerthError, ERROR_CODES } from '../../instance/errors.ts'
import { NAME_LIMIT_CHARACTERS } from '../../instance/names.ts'
import type { BerthError } from '../../instance/errors.ts'
import { SCOPES } from '../../instance/model.ts'
import type { Deployment, Service, ServiceEvent } from '../../instance/service.ts'
import { ANNOTATION } from '../../instance/service.ts'
import type { Caller, Instances } from '../api.ts'
import type { Core } from '../core.ts'
import type { StoreTx } from '../store-port.ts'
import type { Activity } from './activity.ts'
import type { Plan, ServiceAction, Slot } from './plan.ts'
import { planService } from './plan.ts'
import { variablesOfReplica } from './replica-variables.ts'

/** Before what could not be made is tried again. */
const RETRY_MS = 5000
/** The longest a timer of Node can wait. */
const TIMER_LIMIT_MS = 2 ** 31 - 1
/** Rounds of one pass; more means that two of them undo each other, which is a defect. */
const ROUND_LIMIT = 50
const SERVICE_LIMIT = 100_000

interface Lane {
  running: Promise<void> | null
  again: boolean
  timer: NodeJS.Timeout | null
}

type Lifecycle = Pick<Instances, 'create' | 'delete' | 'standby'>

export class ServiceController {
  readonly #core: Core
  readonly #instances: Lifecycle
  readonly #activity: Activity
  readonly #lanes = new Map<string, Lane>()
  #unlisten: () => void = () => {}
  #closing = false
  /** Told after each pass; the proxy follows what is written. */
  onChanged: (serviceId: string) => void = () => {}

  constructor(core: Core, instances: Lifecycle, activity: Activity) {
    this.#core = core
    this.#instances = instances
    this.#activity = activity
  }

  /** Looks at every service that is not over, and from then on at each whose instances change. */
  async start(): Promise<void> {
    this.#unlisten = this.#core.bus.listen(({ instance }) => {
      const id = instance.annotations[ANNOTATION.service]
      if (id !== undefined) this.wake(id)
    })
    const services = await this.#core.store.read.serviceRecords('service', { projectId: null, liveOnly: true, limit: SERVICE_LIMIT })
    for (const service of services) this.wake(service.id)
  }

  wake(id: string): void {
    if (this.#closing) return
    const lane = this.#lanes.get(id) ?? { running: null, again: false, timer: null }
    this.#lanes.set(id, lane)
    if (lane.running !== null) {
      lane.again = true
      return
    }
    lane.running = this.#run(id, lane).finally(() => {
      lane.running = null
      if (lane.again) {
        lane.again = false
        this.wake(id)
      } else if (lane.timer === null) this.#lanes.delete(id)
    })
  }

  /** Begins nothing new, and waits for what is being done. */
  async close(): Promise<void> {
    this.#closing = true
    this.#unlisten()
    for (const lane of this.#lanes.values()) if (lane.timer !== null) clearTimeout(lane.timer)
    await Promise.all([...this.#lanes.values()].map(lane => lane.running ?? Promise.resolve()))
  }

  async #run(id: string, lane: Lane): Promise<void> {
    if (lane.timer !== null) clearTimeout(lane.timer)
    lane.timer = null
    try {
      for (let round = 0; round < ROUND_LIMIT && !this.#closing; round++) {
        lane.again = false
        const plan = await this.#look(id)
        if (plan === null) return
        const problem = await this.#act(plan)
        if (plan.actions.length > 0 && problem === null) continue
        if (problem !== null) return this.#lookAgain(id, lane, this.#core.now() + RETRY_MS)
        if (lane.again) continue
        if (plan.lookAgainAt !== null) this.#lookAgain(id, lane, plan.lookAgainAt)
        return
      }
      this.#lookAgain(id, lane, this.#core.now() + RETRY_MS)
    } catch (error) {
      if (this.#closing) return
      this.#core.logger.warn({ err: asBerthError(error), serviceId: id }, 'work on a service failed; it is tried again')
      this.#lookAgain(id, lane, this.#core.now() + RETRY_MS)
    } finally {
      this.onChanged(id)
    }
  }

  /** Reads, plans, and writes what the plan changes, in one transaction. */
  async #look(id: string): Promise<Plan | null> {
    const { store, now } = this.#core
    return store.transaction(async tx => {
      const service = await tx.serviceRecord('service', id)
      if (service === null || service.deletedAt !== null) return null
      const deployments = await tx.serviceRecords('deployment', { projectId: service.projectId, serviceId: id, liveOnly: true })
      const instances = await tx.instances({ projectId: service.projectId, annotations: { [ANNOTATION.service]: id }, order: 'oldest-first' })
      const at = now()
      const plan = planService({ service, deployments, instances, now: at, idleSince: instance => this.#activity.idleSince(instance.id) })
      await writeService(tx, service, plan.service, at)
      for (const next of plan.deployments) {
        const before = deployments.find(deployment => deployment.id === next.id)
        if (before !== undefined) await writeDeployment(tx, before, next, at)
      }
      if (plan.service.deletedAt !== null) await endApp(tx, plan.service, at)
      return plan
    })
  }

  /** Does what was planned. What can't be done now is returned, told in the record, and does not stop the rest. */
  async #act(plan: Plan): Promise<BerthError | null> {
    let problem: BerthError | null = null
    for (const action of plan.actions) {
      if (this.#closing) return problem
      try {
        await this.#perform(plan.service, action)
      } catch (error) {
        const known = asBerthError(error)
        if (action.kind !== 'create') {
          // It changed its phase meanwhile: the next look sees it.
          if (known.code !== 'invalid_state' && known.code !== 'not_found') problem = known
          continue
        }
        problem = known
        await this.#tellProblem(action.slot, known)
      }
    }
    return problem
  }

  async #perform(service: Service, action: ServiceAction): Promise<void> {
    const caller = callerOf(service)
    switch (action.kind) {
      case 'create':
        await this.#instances.create(caller, await this.#requestOf(service, action.slot))
        return
      case 'delete':
        await this.#instances.delete(caller, action.instance.id, { graceful: action.graceful })
        return
      case 'sleep':
        await this.#instances.standby(caller, action.instance.id)
    }
  }

  async #requestOf(service: Service, slot: Slot): Promise<Parameters<Instances['create']>[1]> {
    const { deployment, set, index } = slot
    const suffix = `-${index}-${randomBytes(2).toString('hex')}`
    const { factEnv: _factEnv, volumes = [], ...template } = set.template
    return {
      ...template,
      volumes: volumes.filter(volume => volume.replicaIndex === index).map(({ replicaIndex: _index, ...mount }) => mount),
      ...(await variablesOfReplica(this.#core.store.read, service, slot)),
      name: service.name.slice(0, NAME_LIMIT_CHARACTERS - suffix.length).replace(/-+$/, '') + suffix,
      pull: 'missing',
      annotations: {
        [ANNOTATION.app]: service.appId,
        [ANNOTATION.service]: service.id,
        [ANNOTATION.deployment]: deployment.id,
        [ANNOTATION.set]: set.id,
        [ANNOTATION.index]: String(index),
        [ANNOTATION.region]: set.region,
        [ANNOTATION.type]: set.type,
      },
    }
  }

  /** What may pass is told and tried again; what can't fails the deployment, if it never served. */
  async #tellProblem({ deployment }: Slot, problem: BerthError): Promise<void> {
    const { store, now } = this.#core
    await store.transaction(async tx => {
      const current = await tx.serviceRecord('deployment', deployment.id)
      if (current === null || current.endedAt !== null) return
      const isFinal = !ERROR_CODES[problem.code].retry && current.succeededAt === null
      const failed = isFinal ? ({ state: 'failed', endedAt: now() } as const) : {}
      await writeDeployment(tx, current, { ...current, ...failed, message: problem.message }, now())
    })
  }

  #lookAgain(id: string, lane: Lane, at: number): void {
    if (this.#closing) return
    if (lane.timer !== null) clearTimeout(lane.timer)
    const delayMs = Math.max(0, Math.min(TIMER_LIMIT_MS, Math.ceil(at - this.#core.now())))
    lane.timer = setTimeout(() => {
      lane.timer = null
      this.wake(id)
    }, delayMs)
    lane.timer.unref()
  }
}

/** The engine's own hand, in the project of a service. */
export function callerOf(service: Service): Caller {
  return { projectId: service.projectId, keyId: null, scopes: SCOPES, via: service.origin }
}

/** Appends to the story of an app, a service, a deployment or one region's part of it. */
export function tell(tx: StoreTx, about: Pick<ServiceEvent, 'projectId' | 'kind' | 'subjectId'>, at: number, type: string, message: string): Promise<void> {
  return tx.appendServiceEvent({ ...about, at, type, message })
}

async function writeService(tx: StoreTx, before: Service, next: Service, at: number): Promise<void> {
  if (JSON.stringify(before) === JSON.stringify(next)) return
  await tx.putServiceRecord('service', { ...next, updatedAt: at })
  const about = { projectId: next.projectId, kind: 'service', subjectId: next.id } as const
  if (next.deletedAt !== null) await tell(tx, about, at, 'DELETED', `Service ${next.name} is deleted`)
  else if (before.desired !== next.desired) await tell(tx, about, at, 'DELETING', `Service ${next.name} is being deleted`)
  else if (before.activeDeploymentId !== next.activeDeploymentId) await tell(tx, about, at, 'DEPLOYED', `Deployment ${next.activeDeploymentId ?? ''} serves now`)
}

async function writeDeployment(tx: StoreTx, before: Deployment, next: Deployment, at: number): Promise<void> {
  if (JSON.stringify(before) === JSON.stringify(next)) return
  await tx.putServiceRecord('deployment', { ...next, updatedAt: at })
  if (before.state === next.state) return
  const type = next.state === 'failed' ? 'ERROR' : next.state.toUpperCase()
  const message = `Deployment is ${next.state}${next.message === null ? '' : `: ${next.message}`}`
  await tell(tx, { projectId: next.projectId, kind: 'deployment', subjectId: next.id }, at, type, message)
  for (const set of next.sets) await tell(tx, { projectId: next.projectId, kind: 'set', subjectId: set.id }, at, type, message)
}

/** An app that is to vanish with its last service does so now. */
async function endApp(tx: StoreTx, service: Service, at: number): Promise<void> {
  const app = await tx.serviceRecord('app', service.appId)
  if (app === null || app.deletedAt !== null || !app.removeWhenEmpty) return
  if ((await tx.countServiceRecords('service', { projectId: app.projectId, appId: app.id, liveOnly: true })) > 0) return
  await tx.putServiceRecord('app', { ...app, updatedAt: at, deletedAt: at })
  await tell(tx, { projectId: app.projectId, kind: 'app', subjectId: app.id }, at, 'DELETED', `App ${app.name} is deleted`)
}

