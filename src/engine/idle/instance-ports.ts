/**
 * The published TCP ports of instances with an idle policy: listeners of the server, and not rules of the kernel, since
 * a connection has to wait while its instance is woken, and to be seen while it lasts (vm-spec.ts leaves these ports out).
 *
 * They are open as long as the instance runs or sleeps. Where the server doesn't reach guests, ports stay with the host.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Socket } from 'node:net'
import type { Instance, InstanceId } from '../../instance/model.ts'
import type { Instances } from '../api.ts'
import type { Core } from '../core.ts'
import { wakeInstance } from '../guest.ts'
import type { Activity } from '../services/activity.ts'
import { Doors } from '../services/doors.ts'
import type { Door } from '../services/doors.ts'
import { callerFor } from './keeper.ts'
import { proxiedPorts } from './proxied-ports.ts'

/** How long a connection waits for an instance that is on its way to sleep or back. */
const WAKE_WAIT_MS = 120_000
const LOOK_MS = 100
/** Before a port that another program holds is tried again. */
const RETRY_MS = 5000

export class InstancePorts {
  readonly #core: Core
  readonly #lifecycle: Pick<Instances, 'restore' | 'wait'>
  readonly #activity: Activity
  readonly #doors: Doors
  readonly #open = new Map<InstanceId, Door[]>()
  readonly #tails = new Map<InstanceId, Promise<void>>()
  readonly #retries = new Map<InstanceId, NodeJS.Timeout>()
  #unlisten: () => void = () => {}
  #closing = false

  constructor(core: Core, lifecycle: Pick<Instances, 'restore' | 'wait'>, activity: Activity) {
    this.#core = core
    this.#lifecycle = lifecycle
    this.#activity = activity
    this.#doors = new Doors(core, activity)
  }

  start(watched: readonly Instance[]): void {
    this.#unlisten = this.#core.bus.listen(({ instance }) => this.#follow(instance))
    for (const instance of watched) this.#follow(instance)
  }

  async close(): Promise<void> {
    this.#closing = true
    this.#unlisten()
    for (const timer of this.#retries.values()) clearTimeout(timer)
    await Promise.all(this.#tails.values())
    for (const doors of this.#open.values()) for (const door of doors) door.server.close()
    this.#doors.close()
  }

  /** One change of an instance after another. */
  #follow(instance: Instance): void {
    if (proxiedPorts(instance).length === 0 && !this.#open.has(instance.id)) return
    const tail = (this.#tails.get(instance.id) ?? Promise.resolve()).then(() => this.#sync(instance.id)).catch((error: unknown) => {
      this.#core.logger.warn({ err: error, instanceId: instance.id }, 'the published ports of an instance could not be opened; they are tried again')
      if (!this.#closing) this.#retries.set(instance.id, setTimeout(() => this.#follow(instance), RETRY_MS).unref())
    })
    this.#tails.set(instance.id, tail)
    void tail.then(() => {
      if (this.#tails.get(instance.id) === tail) this.#tails.delete(instance.id)
    })
  }

  async #sync(id: InstanceId): Promise<void> {
    if (this.#closing) return
    clearTimeout(this.#retries.get(id))
    this.#retries.delete(id)
    const instance = await this.#core.store.read.instance(id)
    const isOpen = instance !== null && (instance.desired === 'running' || instance.desired === 'standby') && instance.address !== null
    const wanted = isOpen && (await this.#doors.reachGuests()) ? proxiedPorts(instance) : []
    const doors = this.#open.get(id) ?? []
    const kept = doors.filter(door => wanted.some(port => port.hostPort === door.publicPort && port.guestPort === door.guestPort))
    for (const door of doors) if (!kept.includes(door)) door.server.close()
    this.#open.set(id, kept)
    for (const { hostPort, guestPort } of wanted) {
      if (!kept.some(door => door.publicPort === hostPort)) kept.push(await this.#doors.open(hostPort, guestPort, socket => this.#awake(id, socket)))
    }
    if (kept.length === 0) this.#open.delete(id)
  }

  /** The instance once it runs; null where it won't. */
  async #awake(id: InstanceId, socket: Socket): Promise<Instance | null> {
    const release = this.#activity.hold(id)
    try {
      const deadline = this.#core.now() + WAKE_WAIT_MS
      while (!socket.destroyed && !this.#closing && this.#core.now() < deadline) {
        const instance = await this.#core.store.read.instance(id)
        if (instance === null || (instance.desired !== 'running' && instance.desired !== 'standby')) return null
        if (instance.phase === 'running' || instance.phase === 'unhealthy') return instance
        if (instance.phase === 'standby') await wakeInstance(this.#core, this.#lifecycle, callerFor(instance), id)
        else await sleep(LOOK_MS)
      }
      return null
    } finally {
      release()
    }
  }
}
