/**
 * Doors: listeners of the server that lead each connection to an instance, which may have to be woken for it.
 *
 *   client ─▶ public port ─▶ choose an instance ─▶ its address and port, each way until its end
 *
 * A connection counts as use of the instance, so that nothing falls asleep under it. Guests are reached over the
 * bridge; without one there are no doors.
 */
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Instance, InstanceId } from '../../instance/model.ts'
import type { Core } from '../core.ts'
import type { Activity } from './activity.ts'

/** Open connections of one door; the next one is refused. */
export const CONNECTIONS_LIMIT = 4096
/** How long one connection to a guest may take; a program that has just started may not listen yet. */
const CONNECT_WAIT_MS = 5000
const CONNECT_TRIES = 10
const CONNECT_PAUSE_MS = 200
/** How long a side may take nothing, and say nothing, after the other has ended. */
const LINGER_MS = 120_000

export interface Door {
  readonly server: Server
  readonly guestPort: number
  readonly publicPort: number
}

/** An instance that takes the connection; null where none will. */
export type ChooseInstance = (socket: Socket) => Promise<Instance | null>

export class Doors {
  readonly #core: Core
  readonly #activity: Activity
  readonly #sockets = new Set<Socket>()
  readonly #open = new Map<InstanceId, number>()

  constructor(core: Core, activity: Activity) {
    this.#core = core
    this.#activity = activity
  }

  /** Whether guests can be reached from here at all. */
  async reachGuests(): Promise<boolean> {
    const link = this.#core.fleet.home
    if (link.silent) return false
    const { network, accelerator } = await link.facts()
    return network.mode === 'bridge' && accelerator !== 'simulated'
  }

  /** Any free port where none is named. Rejects if the port is taken. */
  async open(publicPort: number | null, guestPort: number, choose: ChooseInstance): Promise<Door> {
    const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, socket => void this.#serve(guestPort, socket, choose))
    server.maxConnections = CONNECTIONS_LIMIT
    server.listen(publicPort ?? 0, '0.0.0.0')
    await once(server, 'listening')
    return { server, guestPort, publicPort: (server.address() as AddressInfo).port }
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  /** Connections that are led to an instance now. */
  openTo(id: InstanceId): number {
    return this.#open.get(id) ?? 0
  }

  #count(id: InstanceId, change: 1 | -1): void {
    const count = this.openTo(id) + change
    if (count === 0) this.#open.delete(id)
    else this.#open.set(id, count)
  }

  async #serve(guestPort: number, socket: Socket, choose: ChooseInstance): Promise<void> {
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
    // A client that leaves needs no other word than its close.
    socket.on('error', () => socket.destroy())
    try {
      const instance = await choose(socket)
      if (instance === null) return void socket.destroy()
      const use = this.#activity.hold(instance.id)
      this.#count(instance.id, 1)
      let isOver = false
      const release = () => {
        if (isOver) return
        isOver = true
        this.#count(instance.id, -1)
        use()
      }
      socket.once('close', release)
      if (socket.destroyed) return release()
      const guest = await dial(instance, guestPort)
      guest.on('error', () => guest.destroy())
      if (socket.destroyed) return void guest.destroy()
      lead(socket, guest)
      lead(guest, socket)
      guest.once('end', () => socket.setTimeout(LINGER_MS, () => socket.destroy()))
    } catch (error) {
      this.#core.logger.debug({ err: error, guestPort }, 'a connection to a published port could not be led on')
      socket.destroy()
    }
  }
}

/** Everything that comes, and its end. Where it breaks off the other side does, too; what it had said before its end arrives. */
function lead(from: Socket, to: Socket): void {
  from.pipe(to)
  from.once('close', () => {
    if (!from.readableEnded) return void to.destroy()
    to.setTimeout(LINGER_MS, () => to.destroy())
    to.destroySoon()
  })
}

async function dial(instance: Instance, port: number): Promise<Socket> {
  const host = instance.address?.ip
  if (host === undefined) throw new Error(`instance ${instance.id} has no address`)
  for (let tries = 1; ; tries++) {
    const socket = connect({ host, port, noDelay: true, allowHalfOpen: true })
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
