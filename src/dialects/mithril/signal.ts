/**
 * `/opt/mithril/MITHRIL_SIGNAL.yml` in spot instances: what a program inside reads to learn that its instance is about to
 * be preempted, without a key and without asking anybody. Written whenever the instance runs, has notice, or has it
 * withdrawn; so that the file always says what is so.
 *
 * Policy: one watch for each project that has placed a bid here; a project is remembered, so that a server that starts
 * again goes on. A file that can't be written is told in the log and nowhere else: nothing waits for it.
 */
import type { Caller, Engine } from '../../engine/api.ts'
import { orderOf, preemptAtOf } from '../../instance/market.ts'
import type { BidId, InstanceEvent, ProjectId } from '../../instance/model.ts'
import { SCOPES } from '../../instance/model.ts'
import { statusOf } from './present.ts'
import type { SideNotes } from './side-notes.ts'
import { formatNullableTime } from './time.ts'

const DIR = '/opt/mithril'
const FILE = 'MITHRIL_SIGNAL.yml'
const STATUS = { open: 'Open', allocated: 'Allocated', preempting: 'Preempting', paused: 'Paused', terminated: 'Terminated' } as const

export interface SignalParts {
  readonly engine: Engine
  readonly notes: SideNotes
  readonly stopping: AbortSignal
  readonly log: { warn(details: object, message: string): void }
}

export class Signals {
  readonly #parts: SignalParts
  readonly #followed = new Set<ProjectId>()

  constructor(parts: SignalParts) {
    this.#parts = parts
    for (const projectId of parts.notes.projects()) this.#follow(projectId)
  }

  /** From now on, and after each start of the server. */
  async follow(projectId: ProjectId): Promise<void> {
    this.#follow(projectId)
    await this.#parts.notes.addProject(projectId)
  }

  #follow(projectId: ProjectId): void {
    if (this.#followed.has(projectId)) return
    this.#followed.add(projectId)
    this.#watch({ projectId, keyId: null, scopes: SCOPES, via: 'mithril' }).catch((error: unknown) => {
      this.#followed.delete(projectId)
      if (!this.#parts.stopping.aborted) this.#parts.log.warn({ err: error, projectId }, 'spot instances of a project are not told of their notice any more')
    })
  }

  async #watch(caller: Caller): Promise<void> {
    const { engine, stopping, log } = this.#parts
    for await (const event of engine.events.watch(caller, { kinds: ['phase'], toPhases: ['running', 'preempting'], signal: stopping })) {
      // Not one after the other: a guest that doesn't answer must not keep the others from their notice.
      this.#tell(caller, event).catch((error: unknown) => {
        if (!stopping.aborted) log.warn({ err: error, instanceId: event.instanceId }, 'the signal file of an instance could not be written')
      })
    }
  }

  async #tell(caller: Caller, event: InstanceEvent): Promise<void> {
    const { engine } = this.#parts
    const instance = await engine.instances.get(caller, event.instanceId)
    const order = orderOf(instance)
    // Told by the event that follows, if it is somewhere else by now.
    if (order?.kind !== 'bid' || instance.phase !== event.to) return
    const { status } = await engine.market.bid(caller, order.id as BidId)
    const end = formatNullableTime(preemptAtOf(instance))
    const data = Buffer.from(`instance_status: ${statusOf(instance.phase)}\nbid_status: ${STATUS[status]}\nend_time: ${end === null ? 'null' : `"${end}"`}\n`)
    const entry = { path: FILE, kind: 'file' as const, mode: 0o644, uid: 0, gid: 0, sizeBytes: data.length, mtimeSeconds: Math.floor(event.at / 1000), linkTarget: null }
    await engine.instances.copyIn(
      caller,
      instance.id,
      DIR,
      (async function* () {
        yield { type: 'entry' as const, entry }
        yield { type: 'data' as const, data }
      })(),
    )
  }
}
