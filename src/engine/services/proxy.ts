/**
 * The way to a service's ports from outside: one listener of the server for each port, which leads every connection
 * to a replica that runs, in turn; and if all of them sleep, wakes one first and holds the connection until then.
 *
 * The public port of a port stays the same through deployments and restarts of the server.
 */
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Instance, InstanceId } from '../../instance/model.ts'
import type { Deployment, Service } from '../../instance/service.ts'
import { ANNOTATION } from '../../instance/service.ts'
import type { Instances, Services } from '../api.ts'
import type { Core } from '../core.ts'
import { wakeInstance } from '../guest.ts'
import type { Activity } from './activity.ts'
import { callerOf } from './controller.ts'
import { Doors } from './doors.ts'
import type { Door } from './doors.ts'
import { takesConnections } from './plan.ts'

/** How long a connection waits for a replica that can take it. */
const REPLICA_WAIT_MS = 120_000
const REPLICA_LOOK_MS = 200
type Lifecycle = Pick<Instances, 'restore' | 'wait'>

export class ServiceProxy {
  readonly #core: Core
  readonly #lifecycle: Lifecycle
  readonly #activity: Activity
  readonly #awaken: Services['wake']
  readonly #doors: Doors
  readonly #open = new Map<string, Door[]>()
  readonly #tails = new Map<string, Promise<void>>()
  #turn = 0
  #closing = false

  /** `awaken` ends the deep sleep of a service. */
  constructor(core: Core, lifecycle: Lifecycle, activity: Activity, awaken: Services['wake']) {
    this.#core = core
    this.#awaken = awaken
    this.#lifecycle = lifecycle
    this.#activity = activity
    this.#doors = new Doors(core, activity)
  }

  /** Brings the listeners of a service to what its record says, one change after another. */
  follow(serviceId: string): void {
    const tail = (this.#tails.get(serviceId) ?? Promise.resolve()).then(() => this.#sync(serviceId)).catch((error: unknown) => {
      this.#core.logger.warn({ err: error, serviceId }, 'the ports of a service could not be opened; its next change tries again')
    })
    this.#tails.set(serviceId, tail)
    void tail.then(() => {
      if (this.#tails.get(serviceId) === tail) this.#tails.delete(serviceId)
    })
  }

  /** Connections to published ports that are led to a replica now. */
  openTo(id: InstanceId): number {
    return this.#doors.openTo(id)
  }

  async close(): Promise<void> {
    this.#closing = true
    await Promise.all(this.#tails.values())
    for (const doors of this.#open.values()) for (const door of doors) door.server.close()
    this.#doors.close()
    this.#open.clear()
  }

  async #sync(serviceId: string): Promise<void> {
    if (this.#closing) return
    const { read } = this.#core.store
    const service = await read.serviceRecord('service', serviceId)
    const deployment = service === null ? null : await read.serviceRecord('deployment', service.activeDeploymentId ?? service.latestDeploymentId)
    const isOpen = service !== null && service.desired === 'running' && (await this.#doors.reachGuests())
    const wanted = isOpen && deployment !== null ? deployment.ports : []
    const doors = this.#open.get(serviceId) ?? []
    const kept = doors.filter(door => wanted.some(port => port.guestPort === door.guestPort))
    for (const door of doors) if (!kept.includes(door)) door.server.close()
    for (const port of wanted) {
      if (!kept.some(door => door.guestPort === port.guestPort)) kept.push(await this.#make(serviceId, port.guestPort, port.publicPort))
    }
    if (kept.length === 0) this.#open.delete(serviceId)
    else this.#open.set(serviceId, kept)
    if (deployment !== null && isOpen) await this.#record(deployment, kept)
  }

  async #make(serviceId: string, guestPort: number, publicPort: number | null): Promise<Door> {
    const choose = (socket: Socket) => this.#replica(serviceId, socket)
    try {
      return await this.#doors.open(publicPort, guestPort, choose)
    } catch (error) {
      if (publicPort === null) throw error
      // Another program took it while the server was away: the service gets another one.
      this.#core.logger.warn({ err: error, serviceId, publicPort }, 'a port of a service is taken; it gets another')
      return this.#doors.open(null, guestPort, choose)
    }
  }

  async #record(deployment: Deployment, doors: readonly Door[]): Promise<void> {
    const portsOf = (record: Deployment) =>
      record.ports.map(port => ({ ...port, publicPort: doors.find(door => door.guestPort === port.guestPort)?.publicPort ?? port.publicPort }))
    if (JSON.stringify(portsOf(deployment)) === JSON.stringify(deployment.ports)) return
    await this.#core.store.transaction(async tx => {
      const current = await tx.serviceRecord('deployment', deployment.id)
      if (current !== null) await tx.putServiceRecord('deployment', { ...current, ports: portsOf(current) })
    })
  }

  /** A replica that serves: one that runs, in turn; else one that is woken for it, or on its way. */
  async #replica(serviceId: string, socket: Socket): Promise<Instance | null> {
    const { store, now } = this.#core
    const deadline = now() + REPLICA_WAIT_MS
    while (!socket.destroyed && !this.#closing && now() < deadline) {
      const service = await store.read.serviceRecord('service', serviceId)
      if (service === null || service.desired !== 'running') return null
      const living = await store.read.instances({ projectId: service.projectId, annotations: { [ANNOTATION.service]: serviceId } })
      const own = living.filter(instance => instance.annotations[ANNOTATION.deployment] === (service.activeDeploymentId ?? service.latestDeploymentId))
      const running = own.filter(instance => instance.phase === 'running' && takesConnections(instance) && instance.desired === 'running' && instance.spec.place?.isSimulated !== true)
      if (running.length > 0) return running[this.#turn++ % running.length] ?? null
      const sleeping = own.find(instance => instance.phase === 'standby')
      if (sleeping !== undefined) await this.#wake(service, sleeping)
      else if (own.every(instance => instance.desired === 'deleted') && (await this.#awaken(callerOf(service), serviceId))) continue
      else await sleep(REPLICA_LOOK_MS)
    }
    return null
  }

  async #wake(service: Service, instance: Instance): Promise<void> {
    const release = this.#activity.hold(instance.id)
    try {
      await wakeInstance(this.#core, this.#lifecycle, callerOf(service), instance.id)
    } finally {
      release()
    }
  }
}
