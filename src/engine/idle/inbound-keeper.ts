/**
 * Standby by inbound connections (instance/auto-standby.ts): an instance to which nobody has had an open TCP connection for
 * as long as its policy says goes to standby. Commands that run in it count as well. Nothing wakes it but a restore.
 *
 *   runs ─▶ watched ─▶ each second: connections of its host ─▶ none for idleAfterMs, and no hold ─▶ standby
 *
 * Some go to standby at a time, and looks do not wait for them: a slow one delays no other.
 * What was seen is kept in memory: after a restart of the server everything counts as just used.
 */
import type { AutoStandby } from '../../instance/auto-standby.ts'
import { counts } from '../../instance/auto-standby.ts'
import { asBerthError, BerthError } from '../../instance/errors.ts'
import type { Instance, InstanceId, TimestampMs } from '../../instance/model.ts'
import { ownInstance, requireScope } from '../access.ts'
import type { Caller, Instances } from '../api.ts'
import type { Core } from '../core.ts'
import type { HostLink } from '../fleet.ts'
import type { Activity } from '../services/activity.ts'
import { callerFor } from './keeper.ts'

const LOOK_MS = 1000
/** Before a standby that failed is tried again. */
const RETRY_MS = 30_000
/** How many are being put to standby at a time; others come with a later look. */
export const FALLING_LIMIT = 8

/** What is known of an instance with such a policy; `open` is null before the first look, and where its host can't tell. */
export interface AutoStandbyState {
  readonly open: number | null
  /** The host does not tell who is connected. */
  readonly isBlind: boolean
  readonly idleSince: TimestampMs | null
  readonly lastInboundAt: TimestampMs | null
  readonly holdUntil: TimestampMs | null
  /** When it goes to standby if nobody comes. */
  readonly dueAt: TimestampMs | null
}

export interface AutoStandbys {
  /** null while nothing is watched: no policy, or it doesn't run. */
  state(caller: Caller, id: InstanceId): Promise<{ readonly instance: Instance; readonly state: AutoStandbyState | null }>
  /** Puts the standby off by the idle time of the policy, from now. `invalid_state` from standby. */
  hold(caller: Caller, id: InstanceId): Promise<{ readonly instance: Instance; readonly state: AutoStandbyState | null }>
}

interface Watch {
  instance: Instance
  policy: AutoStandby
  open: number | null
  isBlind: boolean
  lastUsedAt: TimestampMs
  lastInboundAt: TimestampMs | null
  holdUntil: TimestampMs | null
  notBefore: TimestampMs
}

export class InboundKeeper {
  readonly #core: Core
  readonly #standby: Instances['standby']
  readonly #activity: Activity
  readonly #watches = new Map<InstanceId, Watch>()
  #timer: NodeJS.Timeout | null = null
  readonly #falling = new Map<InstanceId, Promise<void>>()
  #looking: Promise<void> = Promise.resolve()
  #unlisten: () => void = () => {}
  #closing = false

  constructor(core: Core, standby: Instances['standby'], activity: Activity) {
    this.#core = core
    this.#standby = standby
    this.#activity = activity
  }

  readonly api: AutoStandbys = {
    state: async (caller, id) => {
      requireScope(caller, 'read')
      return this.#told(await ownInstance(this.#core.store.read, caller, id))
    },
    hold: async (caller, id) => {
      requireScope(caller, 'write')
      const instance = await ownInstance(this.#core.store.read, caller, id)
      if (instance.phase === 'standby' || instance.phase === 'suspending') {
        throw new BerthError('invalid_state', 'It is in standby already: restore it first.', { details: { phase: instance.phase } })
      }
      const watch = this.#watches.get(id)
      if (watch !== undefined) watch.holdUntil = this.#core.now() + watch.policy.idleAfterMs
      return this.#told(instance)
    },
  }

  start(watched: readonly Instance[]): void {
    this.#unlisten = this.#core.bus.listen(({ instance }) => this.#follow(instance))
    for (const instance of watched) this.#follow(instance)
  }

  async close(): Promise<void> {
    this.#closing = true
    this.#unlisten()
    if (this.#timer !== null) clearTimeout(this.#timer)
    await this.#looking
    await Promise.all(this.#falling.values())
  }

  #follow(instance: Instance): void {
    const policy = instance.spec.autoStandby ?? null
    const isWatched = policy?.enabled === true && instance.phase === 'running' && instance.desired === 'running' && instance.address !== null
    if (!isWatched || this.#closing) return void this.#watches.delete(instance.id)
    const known = this.#watches.get(instance.id)
    if (known !== undefined && known.instance.startedAt === instance.startedAt && known.instance.generation === instance.generation) {
      known.instance = instance
      known.policy = policy
      return
    }
    this.#watches.set(instance.id, { instance, policy, open: null, isBlind: false, lastUsedAt: this.#core.now(), lastInboundAt: null, holdUntil: null, notBefore: 0 })
    this.#timer ??= this.#later()
  }

  #later(): NodeJS.Timeout {
    return setTimeout(() => {
      this.#looking = this.#look().finally(() => {
        this.#timer = this.#watches.size === 0 || this.#closing ? null : this.#later()
      })
    }, LOOK_MS).unref()
  }

  /** Never rejects. */
  async #look(): Promise<void> {
    const byHost = Map.groupBy(this.#watches.values(), ({ instance }) => this.#core.fleet.link(instance.hostId))
    await Promise.all([...byHost].map(([link, watches]) => this.#lookAt(link, watches)))
  }

  async #lookAt(link: HostLink, watches: readonly Watch[]): Promise<void> {
    try {
      const connections = await link.host.inbound()
      const now = this.#core.now()
      const byAddress = connections === null ? null : Map.groupBy(connections, ({ address }) => address)
      for (const watch of watches) {
        const own = byAddress?.get(watch.instance.address?.ip ?? '') ?? []
        watch.isBlind = byAddress === null
        watch.open = byAddress === null ? null : own.filter(one => counts(watch.policy, one)).length
        if (watch.open !== null && watch.open > 0) watch.lastInboundAt = watch.lastUsedAt = now
        if (this.#watches.get(watch.instance.id) === watch && now >= (this.#stateOf(watch).dueAt ?? Infinity)) this.#fall(watch)
      }
    } catch (error) {
      for (const watch of watches) [watch.isBlind, watch.open] = [false, null]
      this.#core.logger.warn({ err: asBerthError(error) }, 'the connections of instances could not be looked at; they are looked at again')
    }
  }

  #fall(watch: Watch): void {
    const { id } = watch.instance
    if (this.#closing || this.#falling.has(id) || this.#falling.size >= FALLING_LIMIT) return
    this.#falling.set(id, this.#sleep(watch).finally(() => this.#falling.delete(id)))
  }

  /** Never rejects. */
  async #sleep(watch: Watch): Promise<void> {
    const { instance } = watch
    watch.notBefore = this.#core.now() + RETRY_MS
    try {
      await this.#standby(callerFor(instance), instance.id)
    } catch (error) {
      // It moved meanwhile, and whatever it becomes is told.
      const known = asBerthError(error)
      if (known.code !== 'invalid_state' && known.code !== 'not_found') {
        this.#core.logger.warn({ err: known, instanceId: instance.id }, 'an instance without connections could not be put to standby; it is tried again')
      }
    }
  }

  #told(instance: Instance): { readonly instance: Instance; readonly state: AutoStandbyState | null } {
    const watch = this.#watches.get(instance.id)
    return { instance, state: watch === undefined ? null : this.#stateOf(watch) }
  }

  #stateOf({ instance, policy, open, isBlind, lastUsedAt, lastInboundAt, holdUntil, notBefore }: Watch): AutoStandbyState {
    const now = this.#core.now()
    const commandsSince = this.#activity.idleSince(instance.id)
    const hold = holdUntil !== null && holdUntil > now ? holdUntil : null
    const idleSince = open === 0 && commandsSince !== null ? Math.max(lastUsedAt, commandsSince) : null
    const dueAt = idleSince === null ? null : Math.max(idleSince + policy.idleAfterMs, hold ?? 0, notBefore)
    return { open, isBlind, idleSince, lastInboundAt, holdUntil: hold, dueAt }
  }
}
