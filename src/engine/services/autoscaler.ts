/**
 * Keeps the number of replicas at what they use, for services whose deployment that serves says so (autoscale-rule.ts).
 *
 *   followed ─▶ every autoscaleMs: what each replica uses ─▶ wanted ─▶ written into the deployment ─▶ the controller acts
 *
 * Nothing is decided while replicas come, go or sleep, nor about a region that is scaled by hand. What was seen is kept in
 * memory: after a restart of the server it is looked at anew.
 */
import { asBerthError } from '../../instance/errors.ts'
import type { Instance, InstanceId, TimestampMs } from '../../instance/model.ts'
import type { Autoscale, Deployment, ReplicaSet, Service } from '../../instance/service.ts'
import { ANNOTATION } from '../../instance/service.ts'
import type { Core } from '../core.ts'
import { refOf } from '../vm-spec.ts'
import type { Use, Wish } from './autoscale-rule.ts'
import { decideReplicas, FEWER_AFTER_MS, wantedReplicas } from './autoscale-rule.ts'
import { tell } from './controller.ts'
import { replicasOf, scaledByHand, takesConnections } from './plan.ts'

/** A replica's first moments say nothing about its work. */
const WARM_UP_MS = 10_000

interface Parts {
  readonly core: Core
  readonly wake: (serviceId: string) => void
  readonly openTo: (id: InstanceId) => number
}

export class Autoscaler {
  readonly #parts: Parts
  readonly #followed = new Set<string>()
  readonly #cpu = new Map<InstanceId, { readonly at: TimestampMs; readonly seconds: number }>()
  /** By set: what was wanted lately, oldest first. */
  readonly #wishes = new Map<string, Wish[]>()
  #timer: NodeJS.Timeout | null = null
  #looking: Promise<void> = Promise.resolve()
  #closing = false

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** Looks at a service whose record or replicas have changed: followed from now on if it scales, else no more. */
  follow(serviceId: string): void {
    if (this.#closing) return
    this.#followed.add(serviceId)
    this.#timer ??= this.#later()
  }

  async close(): Promise<void> {
    this.#closing = true
    if (this.#timer !== null) clearTimeout(this.#timer)
    await this.#looking
  }

  #later(): NodeJS.Timeout {
    return setTimeout(() => {
      this.#looking = this.#look().finally(() => {
        this.#timer = this.#followed.size === 0 || this.#closing ? null : this.#later()
      })
    }, this.#parts.core.config.autoscaleMs).unref()
  }

  /** Never rejects. */
  async #look(): Promise<void> {
    for (const id of this.#followed) {
      if (this.#closing) return
      try {
        if (!(await this.#lookAt(id))) this.#followed.delete(id)
      } catch (error) {
        this.#parts.core.logger.warn({ err: asBerthError(error), serviceId: id }, 'what a service uses could not be read; it is tried again')
      }
    }
  }

  /** Whether it is to be looked at again. */
  async #lookAt(id: string): Promise<boolean> {
    const { read } = this.#parts.core.store
    const service = await read.serviceRecord('service', id)
    if (service === null || service.deletedAt !== null || service.desired !== 'running') return false
    const deployment = await read.serviceRecord('deployment', service.activeDeploymentId ?? service.latestDeploymentId)
    const sets = deployment?.sets.filter(({ autoscale }) => autoscale !== undefined) ?? []
    if (deployment === null || sets.length === 0) return false
    const instances = await read.instances({ projectId: service.projectId, annotations: { [ANNOTATION.service]: id } })
    for (const set of sets) await this.#scale(service, deployment, set, instances.filter(({ annotations }) => annotations[ANNOTATION.set] === set.id))
    return true
  }

  async #scale(service: Service, deployment: Deployment, set: ReplicaSet, instances: readonly Instance[]): Promise<void> {
    const { core } = this.#parts
    const { autoscale } = set
    if (autoscale === undefined || scaledByHand(service, set) !== null || deployment.dormant?.[set.id] !== undefined) return void this.#wishes.delete(set.id)
    const current = replicasOf(service, deployment, set)
    const serving = instances.filter(instance => instance.phase === 'running' && instance.desired === 'running' && takesConnections(instance))
    const uses = await this.#usesOf(serving)
    const asleep = instances.filter(({ phase }) => phase === 'standby')
    if (asleep.length > 0) return this.#letGo(service, deployment, set, current, serving)
    const isWarm = serving.every(({ startedAt }) => startedAt !== null && core.now() - startedAt >= WARM_UP_MS)
    if (serving.length !== current || !isWarm) return
    const wanted = wantedReplicas(autoscale, uses)
    if (wanted === null) return
    const at = core.now()
    const wishes = [...(this.#wishes.get(set.id) ?? []).filter(wish => wish.at > at - FEWER_AFTER_MS * 1.5), { at, replicas: wanted }]
    this.#wishes.set(set.id, wishes)
    const next = decideReplicas(current, wishes, at)
    if (next !== current) await this.#write(service, deployment, set, next, describe(autoscale, uses))
  }

  /** Whoever fell asleep is not needed: those behind the last that serves go. */
  async #letGo(service: Service, deployment: Deployment, set: ReplicaSet, current: number, serving: readonly Instance[]): Promise<void> {
    const needed = Math.max(1, set.autoscale?.min ?? 1, ...serving.map(({ annotations }) => Number(annotations[ANNOTATION.index]) + 1))
    if (needed < current) await this.#write(service, deployment, set, needed, 'the others sleep')
  }

  async #write(service: Service, deployment: Deployment, set: ReplicaSet, replicas: number, why: string): Promise<void> {
    const { core, wake } = this.#parts
    this.#wishes.delete(set.id)
    await core.store.transaction(async tx => {
      const now = await tx.serviceRecord('deployment', deployment.id)
      if (now === null || now.endedAt !== null) return
      await tx.putServiceRecord('deployment', { ...now, autoscaled: { ...now.autoscaled, [set.id]: replicas }, updatedAt: core.now() })
      const message = `${set.region} has ${replicas} ${replicas === 1 ? 'instance' : 'instances'} from now on: ${why}`
      await tell(tx, { projectId: service.projectId, kind: 'service', subjectId: service.id }, core.now(), 'AUTOSCALED', message)
    })
    wake(service.id)
  }

  async #usesOf(instances: readonly Instance[]): Promise<readonly Use[]> {
    return Promise.all(instances.map(instance => this.#useOf(instance)))
  }

  async #useOf(instance: Instance): Promise<Use> {
    const { core, openTo } = this.#parts
    const connections = openTo(instance.id)
    try {
      const { at, cpuSeconds, memoryRssBytes, guest } = await core.fleet.link(instance.hostId).host.stats(refOf(instance))
      const before = this.#cpu.get(instance.id)
      this.#cpu.set(instance.id, { at, seconds: cpuSeconds })
      const isSameLife = before !== undefined && before.at < at && before.seconds <= cpuSeconds
      const cpuPercent = isSameLife ? ((cpuSeconds - before.seconds) / ((at - before.at) / 1000) / instance.spec.vcpus) * 100 : null
      const memoryPercent = guest === null ? (memoryRssBytes / instance.spec.memoryBytes) * 100 : (1 - guest.memoryAvailableBytes / guest.memoryTotalBytes) * 100
      return { cpuPercent, memoryPercent, connections }
    } catch (error) {
      core.logger.debug({ err: error, instanceId: instance.id }, 'what a replica uses could not be read')
      return { cpuPercent: null, memoryPercent: null, connections }
    }
  }

  /** An instance is gone. */
  forget(id: InstanceId): void {
    this.#cpu.delete(id)
  }
}

function describe({ cpuPercent, memoryPercent, connections }: Autoscale, uses: readonly Use[]): string {
  const average = (read: (use: Use) => number | null) => Math.round(uses.reduce((sum, use) => sum + (read(use) ?? 0), 0) / Math.max(1, uses.length))
  return [
    ...(cpuPercent === null ? [] : [`${average(use => use.cpuPercent)} % of CPU, where ${cpuPercent} % are wanted`]),
    ...(memoryPercent === null ? [] : [`${average(use => use.memoryPercent)} % of memory, where ${memoryPercent} % are wanted`]),
    ...(connections === null ? [] : [`${average(use => use.connections)} connections each, where ${connections} are wanted`]),
  ].join('; ')
}
