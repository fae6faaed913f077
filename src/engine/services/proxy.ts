/**
 * The way to a service's ports from outside: one listener of the server for each port, which leads every connection
 * to a replica that runs, in turn; and if all of them sleep, wakes one first and holds the connection until then.
 *
 *   client ─▶ public port ─▶ choose a replica ─▶ (wake it) ─▶ its address and port, both ways until either ends
 *
 * A connection counts as use, so that nothing falls asleep under it. The public port of a port stays the same through
 * deployments and restarts of the server. Guests are reached over the bridge; without one there are no listeners.
 */
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Instance } from '../../instance/model.ts'
import type { Deployment, Service } from '../../instance/service.ts'
import { ANNOTATION } from '../../instance/service.ts'
import type { Instances, Services } from '../api.ts'
import type { Core } from '../core.ts'
import { wakeInstance } from '../guest.ts'
import type { Activity } from './activity.ts'
import { callerOf } from './controller.ts'
import { takesConnections } from './plan.ts'

/** Open connections of one port; the next one is refused. */
export const CONNECTIONS_LIMIT = 4096
/** How long a connection waits for a replica that can take it. */
const REPLICA_WAIT_MS = 120_000
const REPLICA_LOOK_MS = 200
/** How long one connection to a guest may take; a program that has just started may not listen yet. */
const CONNECT_WAIT_MS = 5000
const CONNECT_TRIES = 10
const CONNECT_PAUSE_MS = 200

interface Door {
  readonly server: Server
  readonly guestPort: number
  readonly publicPort: number
}

type Lifecycle = Pick<Instances, 'restore' | 'wait'>

export class ServiceProxy {
  readonly #core: Core
  readonly #lifecycle: Lifecycle
  readonly #activity: Activity
  readonly #awaken: Services['wake']
  readonly #doors = new Map<string, Door[]>()
  readonly #tails = new Map<string, Promise<void>>()
  readonly #sockets = new Set<Socket>()
  #turn = 0
  #closing = false

  /** `awaken` ends the deep sleep of a service. */
  constructor(core: Core, lifecycle: Lifecycle, activity: Activity, awaken: Services['wake']) {
    this.#core = core
    this.#awaken = awaken
    this.#lifecycle = lifecycle
    this.#activity = activity
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

  async close(): Promise<void> {
    this.#closing = true
    await Promise.all(this.#tails.values())
    for (const doors of this.#doors.values()) for (const door of doors) door.server.close()
    for (const socket of this.#sockets) socket.destroy()
    this.#doors.clear()
  }

  async #sync(serviceId: string): Promise<void> {
    if (this.#closing) return
    const { read } = this.#core.store
    const service = await read.serviceRecord('service', serviceId)
    const deployment = service === null ? null : await read.serviceRecord('deployment', service.activeDeploymentId ?? service.latestDeploymentId)
    const isOpen = service !== null && service.desired === 'running' && (await this.#reachesGuests())
    const wanted = isOpen && deployment !== null ? deployment.ports : []
    const doors = this.#doors.get(serviceId) ?? []
    const kept = doors.filter(door => wanted.some(port => port.guestPort === door.guestPort))
    for (const door of doors) if (!kept.includes(door)) door.server.close()
    for (const port of wanted) {
      if (!kept.some(door => door.guestPort === port.guestPort)) kept.push(await this.#open(serviceId, port.guestPort, port.publicPort))
    }
    if (kept.length === 0) this.#doors.delete(serviceId)
    else this.#doors.set(serviceId, kept)
    if (deployment !== null && isOpen) await this.#record(deployment, kept)
  }

  async #reachesGuests(): Promise<boolean> {
    const link = this.#core.fleet.home
    if (link.silent) return false
    return (await link.facts()).network.mode === 'bridge' && (await link.facts()).accelerator !== 'simulated'
  }

  async #open(serviceId: string, guestPort: number, publicPort: number | null): Promise<Door> {
    const server = createServer({ pauseOnConnect: true }, socket => void this.#serve(serviceId, guestPort, socket))
    server.maxConnections = CONNECTIONS_LIMIT
    try {
      server.listen(publicPort ?? 0, '0.0.0.0')
      await once(server, 'listening')
    } catch (error) {
      if (publicPort === null) throw error
      // Another program took it while the server was away: the service gets another one.
      this.#core.logger.warn({ err: error, serviceId, publicPort }, 'a port of a service is taken; it gets another')
      return this.#open(serviceId, guestPort, null)
    }
    return { server, guestPort, publicPort: (server.address() as AddressInfo).port }
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

  async #serve(serviceId: string, guestPort: number, socket: Socket): Promise<void> {
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
    // A client that leaves needs no other word than its close.
    socket.on('error', () => socket.destroy())
    try {
      const instance = await this.#replica(serviceId, socket)
      if (instance === null) return void socket.destroy()
      const release = this.#activity.hold(instance.id)
      socket.once('close', release)
      if (socket.destroyed) return release()
      const guest = await dial(instance, guestPort)
      guest.once('close', () => socket.destroy())
      guest.on('error', () => guest.destroy())
      socket.once('close', () => guest.destroy())
      if (socket.destroyed) return void guest.destroy()
      socket.pipe(guest)
      guest.pipe(socket)
    } catch (error) {
      this.#core.logger.debug({ err: error, serviceId, guestPort }, 'a connection to a service could not be led on')
      socket.destroy()
    }
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

async function dial(instance: Instance, port: number): Promise<Socket> {
  const host = instance.address?.ip
  if (host === undefined) throw new Error(`instance ${instance.id} has no address`)
  for (let tries = 1; ; tries++) {
    const socket = connect({ host, port, noDelay: true })
    const late = setTimeout(() => socket.destroy(new Error('the guest did not answer')), CONNECT_WAIT_MS)
    try {
      await once(socket, 'connect')
      return socket
    } catch (error) {
      socket.destroy()
      if (tries === CONNECT_TRIES) throw error
      await sleep(CONNECT_PAUSE_MS)
    } finally {
      clearTimeout(late)
    }
  }
}
