/**
 * Which connections of this machine to its guests are health checks, so that nobody takes them for users: the kernel's
 * connection tracking knows a check for minutes after it has ended.
 *
 *   begun (our port not known yet) ─▶ connected from our port P ─▶ ended ─▶ forgotten, once the kernel has too
 */
import { once } from 'node:events'
import type { Socket } from 'node:net'

/** Longer than the kernel's own memory of a connection that is closing (120 s). */
const REMEMBERED_MS = 180_000
/** Beyond this many the oldest are forgotten first. */
const REMEMBERED_LIMIT = 100_000

/** A connection as the kernel tells it: the guest's address and port, and the port that it came from. */
export interface SeenConnection {
  readonly address: string
  readonly port: number
  readonly sourcePort: number
}

export class Checks {
  readonly #now: () => number
  /** By guest and our port: until when the kernel may know it. Oldest first. */
  readonly #known = new Map<string, number>()
  /** By guest: checks whose own port is not known yet. */
  readonly #beginning = new Map<string, number>()

  constructor(now: () => number = Date.now) {
    this.#now = now
  }

  /** Follows a check of a guest's port over the socket that it makes. */
  follow(address: string, port: number, socket: Socket): void {
    const guest = `${address}:${port}`
    this.#beginning.set(guest, (this.#beginning.get(guest) ?? 0) + 1)
    const left = new AbortController()
    socket.once('close', () => left.abort())
    const connected = socket.connecting ? once(socket, 'connect', { signal: left.signal }) : Promise.resolve()
    connected
      .then(() => this.#remember(`${guest}<${socket.localPort}`))
      // One that never connected is no connection.
      .catch(() => {})
      .finally(() => {
        const others = (this.#beginning.get(guest) ?? 1) - 1
        if (others === 0) this.#beginning.delete(guest)
        else this.#beginning.set(guest, others)
      })
  }

  /** Whether a connection from this machine is a check; one is given the benefit of the doubt while it begins. */
  isCheck({ address, port, sourcePort }: SeenConnection): boolean {
    const guest = `${address}:${port}`
    return (this.#known.get(`${guest}<${sourcePort}`) ?? 0) > this.#now() || this.#beginning.has(guest)
  }

  #remember(key: string): void {
    const now = this.#now()
    this.#known.delete(key)
    this.#known.set(key, now + REMEMBERED_MS)
    for (const [oldest, until] of this.#known) {
      if (until > now && this.#known.size <= REMEMBERED_LIMIT) break
      this.#known.delete(oldest)
    }
  }
}
