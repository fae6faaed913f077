/** Throws at one await of a whole run: of the host, of a transaction, or of a read; before its effect or after. */
import { BerthError } from '../../src/instance/errors.ts'

/** Calls that give no promise, or whose failure is no failure of an operation. */
const SPARED: readonly string[] = ['onEvent', 'close', 'logs', 'copyOut']

export class Saboteur {
  readonly #at: number
  readonly #when: 'before' | 'after'
  armed = false
  count = 0
  fired: string | null = null

  constructor(at: number, when: 'before' | 'after') {
    this.#at = at
    this.#when = when
  }

  async around<T>(name: string, work: () => Promise<T>): Promise<T> {
    if (!this.armed) return work()
    const fires = ++this.count === this.#at
    if (fires) this.fired = `${this.#when} ${name}`
    const failure = () => new BerthError(name.startsWith('host') ? 'guest_unreachable' : 'disk_full', `sabotaged ${this.#when} ${name}`)
    if (fires && this.#when === 'before') throw failure()
    const result = await work()
    if (fires) throw failure()
    return result
  }

  /** The same object, each of whose calls that give a promise may be hit. */
  wrap<T extends object>(target: T, prefix: string): T {
    return new Proxy(target, {
      get: (object, name, receiver) => {
        const value: unknown = Reflect.get(object, name, receiver)
        if (typeof value !== 'function') return value
        return (...wishes: unknown[]) => {
          const call = () => value.apply(object, wishes) as unknown
          if (SPARED.includes(String(name))) return call()
          return this.around(`${prefix}.${String(name)}`, async () => call())
        }
      },
    })
  }
}
