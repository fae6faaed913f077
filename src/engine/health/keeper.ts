/**
 * Asks instances whether they serve, as their health checks say, and brings what it hears into their records.
 *
 *   runs ─▶ watch (one per VM life) ─▶ one loop per check ─▶ tallies ─▶ verdict ─▶ the record, where it changed
 *
 * What follows from a check that failed too often: with a restart policy the instance is restarted by it; a replica of
 * a service is ended, and its service puts another in its place; any other stays unhealthy. Nothing is asked of an
 * instance that sleeps. Tallies are kept in memory: a new server begins to count anew from what the record says.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { asBerthError } from '../../instance/errors.ts'
import { decideRestart, exitedWith } from '../../instance/exit.ts'
import type { HealthCheck, ProbeResult, Tally } from '../../instance/health.ts'
import { CHECKS_PASS, TIMER_LIMIT_MS, newTally, pauseAfter, tallied, verdictOf } from '../../instance/health.ts'
import type { Verdict } from '../../instance/health.ts'
import type { Instance, InstanceId } from '../../instance/model.ts'
import { ANNOTATION } from '../../instance/service.ts'
import type { Core } from '../core.ts'
import type { Change } from '../journal.ts'
import { refOf } from '../vm-spec.ts'

const GIVE_UP_AGAIN_MS = 10_000
const EXEC_OUTPUT_LIMIT_BYTES = 64 * 1024

interface Watch {
  readonly instance: Instance
  readonly tallies: Tally[]
  readonly ended: AbortController
  /** What the record is known to say. */
  status: string
  /** When it last had failed too often: where nothing follows from that, it isn't tried with each failure. */
  givenUpAt: number
  /** Commits one after another. */
  tail: Promise<void>
}

export class HealthKeeper {
  readonly #core: Core
  readonly #wake: (id: InstanceId) => void
  readonly #watches = new Map<InstanceId, Watch>()
  #unlisten: () => void = () => {}
  #closing = false

  constructor(core: Core, wake: (id: InstanceId) => void) {
    this.#core = core
    this.#wake = wake
  }

  start(watched: readonly Instance[]): void {
    this.#unlisten = this.#core.bus.listen(({ instance }) => this.#follow(instance))
    for (const instance of watched) this.#follow(instance)
  }

  async close(): Promise<void> {
    this.#closing = true
    this.#unlisten()
    const tails = [...this.#watches.values()].map(watch => watch.tail)
    for (const watch of this.#watches.values()) watch.ended.abort()
    this.#watches.clear()
    await Promise.all(tails)
  }

  #follow(instance: Instance): void {
    const checks = instance.spec.healthChecks ?? []
    const known = this.#watches.get(instance.id)
    const isAsked = checks.length > 0 && (instance.phase === 'running' || instance.phase === 'unhealthy') && instance.desired === 'running'
    if (isAsked && known?.instance.generation === instance.generation && isSame(known.instance.spec.healthChecks, checks)) return
    known?.ended.abort()
    this.#watches.delete(instance.id)
    if (!isAsked || this.#closing) return
    const hasPassed = (instance.health?.passedAt ?? null) !== null
    const watch: Watch = {
      instance,
      tallies: checks.map(() => newTally(hasPassed)),
      ended: new AbortController(),
      status: instance.health?.status ?? '',
      givenUpAt: 0,
      tail: Promise.resolve(),
    }
    this.#watches.set(instance.id, watch)
    for (const [index, check] of checks.entries()) {
      this.#ask(watch, index, check).catch((error: unknown) => {
        this.#core.logger.error({ err: error, instanceId: instance.id }, 'the health checks of an instance met a defect')
      })
    }
  }

  async #ask(watch: Watch, index: number, check: HealthCheck): Promise<void> {
    const { signal } = watch.ended
    const graceEndsAt = (watch.instance.startedAt ?? this.#core.now()) + check.graceMs
    while (!signal.aborted) {
      const result = await this.#probe(watch.instance, check)
      if (signal.aborted) return
      const tally = tallied(watch.tallies[index] ?? newTally(false), check, result, this.#core.now(), graceEndsAt)
      watch.tallies[index] = tally
      this.#settle(watch)
      await pause(pauseAfter(tally, check), signal)
    }
  }

  async #probe(instance: Instance, { probe, timeoutMs: wantedMs }: HealthCheck): Promise<ProbeResult> {
    const timeoutMs = Math.min(wantedMs, TIMER_LIMIT_MS)
    const { host } = this.#core.fleet.link(instance.hostId)
    try {
      if (probe.kind !== 'exec') return await host.probe(refOf(instance), probe, { timeoutMs })
      const session = await host.exec(refOf(instance), { command: probe.command, env: {}, workingDir: probe.workingDir, user: null, tty: null, timeoutMs })
      let bytes = 0
      for await (const { data } of session.output) {
        bytes += data.length
        // What it says interests nobody, but it must not say it for ever.
        if (bytes > EXEC_OUTPUT_LIMIT_BYTES) session.close()
      }
      const { code, timedOut } = await session.exit
      if (timedOut) return { kind: 'failed', reason: `it took longer than ${timeoutMs} ms` }
      return code === 0 ? { kind: 'passed' } : { kind: 'failed', reason: `exit code ${code}` }
    } catch (error) {
      // A guest that can't be asked does not serve.
      return { kind: 'failed', reason: asBerthError(error).message }
    }
  }

  #settle(watch: Watch): void {
    const verdict = verdictOf(watch.instance.spec.healthChecks ?? [], watch.tallies)
    const isTold = verdict.status === watch.status
    if (isTold && (!verdict.isGivenUp || this.#core.now() < watch.givenUpAt + GIVE_UP_AGAIN_MS)) return
    if (verdict.isGivenUp) watch.givenUpAt = this.#core.now()
    // It was healthy, and not all have been asked again since it woke.
    if (verdict.status === 'starting') return
    watch.tail = watch.tail.then(() => this.#record(watch, verdict)).catch((error: unknown) => {
      this.#core.logger.warn({ err: asBerthError(error), instanceId: watch.instance.id }, 'what the health checks say could not be kept; the next check tries again')
    })
  }

  async #record(watch: Watch, verdict: Verdict): Promise<void> {
    if (watch.ended.signal.aborted) return
    const { id, generation } = watch.instance
    const done = await this.#core.journal.commit(async change => {
      const current = await change.tx.instance(id)
      const isThere = current !== null && current.generation === generation && current.desired === 'running' && (current.phase === 'running' || current.phase === 'unhealthy')
      if (!isThere) return null
      const told = current.health?.status === verdict.status ? current : await this.#tell(change, current, verdict)
      return verdict.isGivenUp ? giveUp(change, told, verdict, this.#core.now()) : told
    })
    watch.status = verdict.status
    if (done?.phase === 'stopping') this.#wake(id)
  }

  #tell(change: Change, current: Instance, { status, message }: Verdict): Promise<Instance> {
    const at = this.#core.now()
    const isPassing = status === 'healthy' || status === 'unknown'
    const before = current.health?.passedAt ?? null
    const health = { status, since: at, message, passedAt: before ?? (isPassing ? at : null) }
    if (!isPassing) return current.phase === 'running' ? change.step(current, 'unhealthy', { health, reason: message }) : change.note(current, message, { health, reason: message })
    if (current.phase === 'unhealthy') return change.step(current, 'running', { health })
    return change.note(current, CHECKS_PASS, { health, reason: null })
  }
}

/** It has failed too often: what becomes of it. */
async function giveUp(change: Change, current: Instance, { message }: Verdict, at: number): Promise<Instance> {
  const { restart } = current.spec
  const reason = message ?? 'Its health checks failed.'
  const decision = decideRestart(restart, { exit: exitedWith(1), attempts: current.restartAttempts, ranForMs: at - (current.startedAt ?? at) })
  if (decision.kind === 'restart') {
    return change.step(current, 'stopping', { desired: 'running', restartAttempts: decision.attempts, reason: `It is restarted. ${reason}` })
  }
  if (current.annotations[ANNOTATION.service] === undefined) return current
  return change.step(current, 'stopping', { desired: 'stopped', reason })
}

function isSame(before: readonly HealthCheck[] | undefined, now: readonly HealthCheck[]): boolean {
  return before === now || JSON.stringify(before ?? []) === JSON.stringify(now)
}

/** Resolves also when the signal ends it. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return sleep(ms, undefined, { signal, ref: false }).catch(() => undefined)
}
