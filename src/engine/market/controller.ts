/**
 * Keeps markets in agreement with supply and demand: looks at all of them (settle.ts) with each change that an order
 * or an instance makes, and when something is due; then makes the instances that orders lack.
 *
 *   an order changes ─▶ trade: its change and the look in one transaction ─┐
 *   an instance changes its phase, a time has come ─▶ look ────────────────┴▶ wake lanes ▶ make what is missing
 *
 * Invariants:
 * - What is decided is in the store before anything is done about it; whatever a crash cuts off, the next look finds.
 * - An instance of an order is made at most once for each of its lives: the idempotency key names order, place and
 *   life, and the transaction that makes it checks that the order still has its capacity.
 */
import { asBerthError, BerthError, ERROR_CODES } from '../../instance/errors.ts'
import type { Order } from '../../instance/market.ts'
import { ORDER, orderOf } from '../../instance/market.ts'
import type { Instance, InstanceId } from '../../instance/model.ts'
import { SCOPES } from '../../instance/model.ts'
import { openKind, periodTime } from '../../instance/periods.ts'
import type { Caller } from '../api.ts'
import type { Core } from '../core.ts'
import type { LaunchInstance } from '../instances.ts'
import type { Change } from '../journal.ts'
import type { StoreTx } from '../store-port.ts'
import type { Ground, HostGround } from './ground.ts'
import type { Vacancy } from './orders.ts'
import { instanceName, instancesOf, placeOf, sizeOfInstance } from './orders.ts'
import type { PricingParts } from './pricing.ts'
import { newPeriod } from './pricing.ts'
import type { Settlement } from './settle.ts'
import { settle } from './settle.ts'

/** The longest a timer of Node can wait. */
const TIMER_LIMIT_MS = 2 ** 31 - 1

export interface ControllerParts {
  readonly core: Core
  readonly ground: Ground
  readonly pricing: PricingParts
  readonly launch: LaunchInstance
  /** Makes the reconcile loop look at an instance. */
  readonly wakeInstance: (id: InstanceId) => void
}

export class MarketController {
  readonly #parts: ControllerParts
  #looking: Promise<void> | null = null
  #again = false
  #timer: NodeJS.Timeout | null = null
  /** When the timer looks. */
  #nextAt = Number.POSITIVE_INFINITY
  #unlisten: () => void = () => {}
  /** False while there is neither an order nor a price that has to fall: then instances come and go unwatched. */
  #isLive = false
  #trades = 0
  #closing = false
  readonly #launching = new Map<string, Promise<void>>()

  constructor(parts: ControllerParts) {
    this.#parts = parts
  }

  /** Looks for the first time, and from then on with each step of an instance. */
  async start(): Promise<void> {
    const { core } = this.#parts
    this.#unlisten = core.bus.listen(({ event }) => {
      if (event.kind === 'phase' && this.#isLive) this.wake()
    })
    await this.#openForgotten()
    this.#isLive = true
    this.wake()
    await this.#looking
  }

  /** Looks soon. */
  wake(): void {
    if (this.#closing) return
    if (this.#looking !== null) {
      this.#again = true
      return
    }
    this.#looking = this.#look().finally(() => {
      this.#looking = null
      if (!this.#again) return
      this.#again = false
      this.wake()
    })
  }

  /** An order's change, and what follows from it for all markets, in one transaction. */
  async trade<T>(work: (change: Change, hosts: readonly HostGround[]) => Promise<T>): Promise<T> {
    const { core, ground } = this.#parts
    if (this.#closing) throw new BerthError('shutting_down', 'The server is stopping: try again in a moment.')
    const hosts = await ground.hosts()
    let settlement: Settlement | null = null
    let last: Change | null = null
    this.#isLive = true
    this.#trades++
    try {
      return await core.journal.commit(async change => {
        last = change
        const result = await work(change, hosts)
        settlement = await settle(core, change, hosts)
        return result
      })
    } finally {
      // Even after an error: a commit whose answer was lost has moved instances too.
      this.#trades--
      this.#follow(last as Change | null, settlement)
    }
  }

  /** Begins nothing new, and waits for what is being done. */
  async close(): Promise<void> {
    this.#closing = true
    this.#unlisten()
    if (this.#timer !== null) clearTimeout(this.#timer)
    await this.#looking
    await Promise.all(this.#launching.values())
  }

  async #look(): Promise<void> {
    try {
      await this.trade(async () => {})
    } catch (error) {
      if (this.#closing) return
      this.#parts.core.logger.warn({ err: asBerthError(error) }, 'the markets could not be settled; it is tried again')
      this.#lookAt(this.#parts.core.now() + this.#parts.core.config.market.retryMs)
    }
  }

  #follow(change: Change | null, settlement: Settlement | null): void {
    for (const { instance } of change?.committed ?? []) this.#parts.wakeInstance(instance.id)
    if (settlement === null || this.#closing) return
    // Another may be under way whose orders this one did not see.
    if (this.#trades === 0) this.#isLive = settlement.isLive
    if (settlement.nextAt !== null) this.#lookAt(settlement.nextAt)
    for (const vacancy of settlement.vacancies) this.#fill(vacancy)
  }

  #lookAt(at: number): void {
    // A time that is over and was not looked at is the clock's doing: it has jumped.
    const isSet = this.#nextAt > this.#parts.core.now()
    if (this.#closing || (isSet && at >= this.#nextAt)) return
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#nextAt = at
    this.#timer = setTimeout(() => {
      this.#timer = null
      this.#nextAt = Number.POSITIVE_INFINITY
      this.wake()
    }, Math.max(0, Math.min(TIMER_LIMIT_MS, Math.ceil(at - this.#parts.core.now()))))
    this.#timer.unref()
  }

  /** Makes the instance of an empty place, unless that is being done. */
  #fill(vacancy: Vacancy): void {
    const key = `${vacancy.order.id}/${vacancy.slot}`
    if (this.#launching.has(key) || this.#closing) return
    const work = this.#launch(vacancy)
      .catch(async (error: unknown) => {
        if (this.#closing) return
        const known = asBerthError(error)
        // Its order has lost its capacity meanwhile: nothing is to be made.
        if (known.code === 'invalid_state') return
        await this.#tellProblem(vacancy.order, known)
        const { retryMs } = this.#parts.core.config.market
        this.#lookAt(this.#parts.core.now() + (ERROR_CODES[known.code].retry ? retryMs : retryMs * 6))
      })
      .finally(() => this.#launching.delete(key))
    this.#launching.set(key, work)
  }

  async #launch({ order, slot }: Vacancy): Promise<void> {
    const { core, launch } = this.#parts
    const lives = (await instancesOf(core.store.read, order, true)).filter(instance => orderOf(instance)?.slot === slot).length
    const key = `market/${order.id}/${slot}/${lives}`
    const caller: Caller = { projectId: order.projectId, keyId: null, scopes: SCOPES, via: order.origin }
    const attempt = (name: string) =>
      launch(
        caller,
        {
          ...order.launch.template,
          ...sizeOfInstance(order.launch.memoryBytes, order.size),
          name,
          place: placeOf(core, order),
          annotations: {
            ...order.launch.annotations,
            [ORDER.id]: order.id,
            [ORDER.kind]: order.kind,
            [ORDER.slot]: String(slot),
            [ORDER.type]: order.type,
            [ORDER.region]: order.region,
          },
        },
        { idempotencyKey: key, idempotencyBasis: key, check: tx => checkGranted(tx, order) },
      )
    try {
      await attempt(instanceName(order.name, slot))
    } catch (error) {
      if (!(error instanceof BerthError) || error.code !== 'name_conflict') throw error
      // Two orders may have one name; then so would their instances.
      await attempt(instanceName(order.name, slot, `-${Buffer.from(core.randomBytes(2)).toString('hex')}`))
    }
  }

  async #tellProblem(order: Order, problem: BerthError): Promise<void> {
    const { core } = this.#parts
    const message = `An instance could not be made: ${problem.message}`
    if (problem.code !== 'insufficient_resources') core.logger.warn({ err: problem, orderId: order.id }, 'an instance of an order could not be made; it is tried again')
    try {
      await core.store.transaction(async tx => {
        if (order.kind === 'bid') {
          const bid = await tx.order('bid', order.id)
          if (bid !== null && bid.deactivatedAt === null) await tx.putOrder('bid', { ...bid, message })
        } else {
          const reservation = await tx.order('reservation', order.id)
          if (reservation !== null && reservation.deactivatedAt === null) await tx.putOrder('reservation', { ...reservation, message })
        }
      })
    } catch (error) {
      core.logger.warn({ err: error, orderId: order.id }, 'why an order lacks an instance could not be written')
    }
  }

  /** What ran before there were prices is priced from now on. */
  async #openForgotten(): Promise<void> {
    const { core, pricing } = this.#parts
    const serving = await core.store.read.instances({ projectId: null, phases: ['running', 'unhealthy', 'preempting'] })
    if (serving.length === 0) return
    const open = new Set((await core.store.read.periods({ projectId: null, openOnly: true })).map(period => period.instanceId))
    const forgotten = serving.filter(instance => !open.has(instance.id))
    if (forgotten.length === 0) return
    await core.store.transaction(async tx => {
      for (const { id } of forgotten) await openIfNone(pricing, tx, await tx.instance(id), core.now())
    })
  }
}

async function openIfNone(parts: PricingParts, tx: StoreTx, instance: Instance | null, now: number): Promise<void> {
  if (instance === null) return
  const kind = openKind(orderOf(instance)?.kind ?? null, instance.phase)
  if (kind === null || (await tx.periods({ projectId: null, instanceIds: [instance.id], openOnly: true })).length > 0) return
  await tx.putPeriod(await newPeriod(parts, tx, instance, kind, periodTime(now)))
}

/** Throws `invalid_state` unless the order has its capacity now. */
async function checkGranted(tx: StoreTx, order: Order): Promise<void> {
  const now = order.kind === 'bid' ? await tx.order('bid', order.id) : await tx.order('reservation', order.id)
  if (now?.status === 'allocated' || now?.status === 'active') return
  throw new BerthError('invalid_state', `The ${order.kind} ${order.id} has no capacity now.`)
}
