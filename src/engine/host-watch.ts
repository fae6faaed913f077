/**
 * Keeps the record and the machines in agreement: asks each host what really runs (at start, now and then, and
 * often while one is silent), hands what differs to the reconcile loop, and removes what nobody knows.
 *
 * Invariants:
 * - A sight is used only for an instance whose lane did nothing while the host was asked: a VM that was just
 *   started can't be taken for one that is gone.
 * - A VM is an orphan only if the store has no living instance for it, asked after the host was.
 */
import type { Instance, InstanceId } from '../instance/model.ts'
import { holdsCompute } from '../instance/phase.ts'
import type { Core } from './core.ts'
import type { HostLink } from './fleet.ts'
import { withDeadline } from './fleet.ts'
import type { HostEvent, HostVm } from './host-port.ts'
import { nextAction } from './next-action.ts'
import { sightOf } from './operations.ts'
import type { Reconciler } from './reconcile.ts'

export class HostWatch {
  readonly #core: Core
  readonly #loop: Reconciler
  readonly #timers = new Map<HostLink, NodeJS.Timeout>()
  readonly #unsubscribe: (() => void)[] = []
  readonly #syncing = new Map<HostLink, Promise<void>>()
  /** Hosts that are looked at again soon: something of theirs is lost. */
  readonly #hurry = new Set<HostLink>()
  #closed = false

  constructor(core: Core, loop: Reconciler) {
    this.#core = core
    this.#loop = loop
  }

  /** Resolves when each host was asked once, or has had its time. */
  async begin(): Promise<void> {
    for (const link of this.#core.fleet.links) {
      this.#unsubscribe.push(link.host.onEvent(event => this.#onEvent(event)))
      link.onSilent = () => {
        this.#hurry.add(link)
        void this.#sync(link)
      }
    }
    await Promise.all(this.#core.fleet.links.map(link => this.#sync(link)))
  }

  /** Asks every host now. */
  async sync(): Promise<void> {
    await Promise.all(this.#core.fleet.links.map(link => this.#sync(link)))
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const end of this.#unsubscribe) end()
    for (const timer of this.#timers.values()) clearTimeout(timer)
    await Promise.all(this.#syncing.values())
  }

  #sync(link: HostLink): Promise<void> {
    const running = this.#syncing.get(link)
    if (running !== undefined) return running
    const sync = this.#ask(link)
      .catch((error: unknown) => this.#core.logger.error({ err: error, host: link.id }, 'a host could not be compared with the record'))
      .finally(() => {
        this.#syncing.delete(link)
        this.#scheduleNext(link)
      })
    this.#syncing.set(link, sync)
    return sync
  }

  async #ask(link: HostLink): Promise<void> {
    if (this.#closed) return
    const before = await this.#instancesOf(link)
    const quiet = new Map(before.map(instance => [instance.id, this.#loop.quietEpoch(instance.id)]))
    let vms: readonly HostVm[]
    try {
      vms = await withDeadline(link.host.inventory(), this.#core.config.deadlines.inventoryMs, 'The host did not say in time what runs on it.')
    } catch (error) {
      if (!link.silent) this.#core.logger.warn({ err: error, host: link.id }, 'a host does not answer')
      link.silent = true
      for (const instance of before) if (holdsCompute(instance.phase) && instance.phase !== 'lost') this.#loop.wake(instance.id, { kind: 'silent' })
      return
    }
    if (this.#closed) return
    if (link.silent) this.#core.logger.info({ host: link.id }, 'a host answers again')
    link.silent = false
    const byId = new Map(vms.map(vm => [vm.instanceId, vm]))
    for (const instance of before) this.#compare(instance, quiet.get(instance.id) ?? null, byId.get(instance.id))
    const known = new Set(before.map(instance => instance.id))
    if (before.some(instance => instance.phase === 'lost')) this.#hurry.add(link)
    // Not awaited: at start the lanes wait for this very look.
    void this.#removeOrphans(link, vms.filter(vm => !known.has(vm.instanceId)))
  }

  #compare(instance: Instance, quietBefore: number | null, vm: HostVm | undefined): void {
    // A lane that was at work then or is now knows more than this sight.
    if (quietBefore === null || this.#loop.quietEpoch(instance.id) !== quietBefore) return
    const seen = sightOf(vm)
    const action = nextAction(instance, seen, this.#core.now(), this.#core.config.retryMs.longest)
    if (action.kind === 'none') return
    if (action.kind === 'wait') this.#loop.schedule(instance, action)
    else this.#loop.wake(instance.id, seen)
  }

  async #removeOrphans(link: HostLink, unknown: readonly HostVm[]): Promise<void> {
    for (const vm of unknown) {
      await this.#loop.run(vm.instanceId, () => this.#removeOrphan(link, vm)).catch((error: unknown) => {
        // It stays on the host, and the next look tries again.
        this.#core.logger.warn({ err: error, instanceId: vm.instanceId }, 'a VM that no instance belongs to could not be removed')
      })
    }
  }

  async #removeOrphan(link: HostLink, vm: HostVm): Promise<void> {
    const instance = await this.#core.store.read.instance(vm.instanceId)
    if (instance !== null && instance.phase !== 'deleted') return
    this.#core.logger.warn({ host: link.id, instanceId: vm.instanceId, status: vm.status }, 'a VM that no instance belongs to is removed')
    await withDeadline(link.host.destroy(vm), this.#core.config.deadlines.destroyMs, 'The host did not remove it in time.')
  }

  async #instancesOf(link: HostLink): Promise<readonly Instance[]> {
    const instances = await this.#core.store.read.instances({ projectId: null, hostId: link.id })
    if (link !== this.#core.fleet.home) return instances
    const unplaced = await this.#core.store.read.instances({ projectId: null, phases: ['pending'] })
    return [...instances, ...unplaced.filter(instance => instance.hostId === null)]
  }

  #onEvent(event: HostEvent): void {
    const { instanceId, generation } = event.vm
    switch (event.kind) {
      case 'exited':
        return this.#loop.wake(instanceId, { kind: 'exited', generation, exit: event.exit })
      case 'agent':
        return this.#loop.wake(instanceId, { kind: 'agent', generation, reachable: event.reachable, reason: event.reason })
      case 'note':
        return void this.#note(instanceId, event.text)
    }
  }

  async #note(id: InstanceId, text: string): Promise<void> {
    try {
      await this.#core.journal.commit(async change => {
        const instance = await change.tx.instance(id)
        if (instance !== null) await change.remark(instance, text)
      })
    } catch (error) {
      this.#core.logger.warn({ err: error, instanceId: id, text }, 'a note of a host could not be kept')
    }
  }

  #scheduleNext(link: HostLink): void {
    if (this.#closed) return
    const soon = this.#hurry.delete(link) || link.silent
    const delayMs = soon ? this.#core.config.probeMs : this.#core.config.heartbeatMs
    const old = this.#timers.get(link)
    if (old !== undefined) clearTimeout(old)
    const timer = setTimeout(() => void this.#sync(link), delayMs)
    timer.unref()
    this.#timers.set(link, timer)
  }
}
