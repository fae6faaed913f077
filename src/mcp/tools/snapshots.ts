/** Tools that keep an instance as it is, go back to that, and make others from it: an agent's undo and its branches. */
import { z } from 'zod'
import { BerthError } from '../../instance/errors.ts'
import { quoteGo } from '../../instance/go-text.ts'
import type { Instance as InstanceRecord } from '../../instance/model.ts'
import type { Phase } from '../../instance/phase.ts'
import { isServing } from '../../instance/phase.ts'
import type { ForkTarget, Snapshot as SnapshotRecord } from '../../instance/snapshot.ts'
import { FORK_TARGETS, SNAPSHOT_KINDS } from '../../instance/snapshot.ts'
import { presentBrief, presentTime } from '../present.ts'
import { findInstance, findSnapshot } from '../resolve.ts'
import { Brief, InstanceWord, Limit, Offset, Wait, WaitMs } from '../schema.ts'
import { defineTool } from '../tool.ts'
import type { Tool, ToolContext } from '../tool.ts'
import { waitFor } from '../waiting.ts'
import { pageInfo, paged } from './catalogue.ts'
import { describe } from './instances.ts'

const MIB = 2 ** 20
const REACHED: Readonly<Record<ForkTarget, readonly Phase[]>> = { running: ['running', 'unhealthy'], standby: ['standby'], stopped: ['stopped'] }

const Name = z.string().min(1).max(63).regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/)
const SnapshotWord = z.string().min(1).max(64).regex(/^[A-Za-z0-9_-]+$/).describe('Id of the snapshot, or its name where only one has it')
const State = z.enum(FORK_TARGETS).optional()

const Snapshot = z.strictObject({
  id: z.string(),
  name: z.string().nullable(),
  kind: z.enum(SNAPSHOT_KINDS).describe('standby: memory and disk; stopped: disk alone'),
  instance_id: z.string(),
  instance_name: z.string(),
  image: z.string(),
  size_mib: z.number(),
  created_at: z.string().describe('RFC 3339, UTC'),
})
const Done = z.strictObject({ instance: Brief, timed_out: z.boolean().describe('It is still on its way') })

export const createSnapshot = defineTool({
  name: 'create-snapshot',
  title: 'Keep an instance as it is',
  description: 'Copies memory and disk of an instance that runs or sleeps, or the disk of a stopped one; it goes on as before. restore-snapshot goes back to it, fork-instance makes others from it.',
  toolset: 'snapshots',
  scope: 'write',
  hints: { readOnly: false, destructive: false, idempotent: false, openWorld: false },
  isLong: true,
  input: z.strictObject({ id: InstanceWord, name: Name.optional().describe('Unique among the snapshots of the instance') }),
  output: z.strictObject({ snapshot: Snapshot }),
  async run({ id, name }, context) {
    const { engine, caller } = context
    const instance = await findInstance(engine, caller, id)
    context.note({ instance: instance.id })
    const snapshot = await engine.snapshots.create(caller, instance.id, name === undefined ? {} : { name })
    return { data: { snapshot: present(snapshot) }, text: line(snapshot) }
  },
})

export const listSnapshots = defineTool({
  name: 'list-snapshots',
  title: 'List snapshots',
  description: 'Which snapshots there are, newest first; with id only those of one instance.',
  toolset: 'snapshots',
  scope: 'read',
  hints: { readOnly: true, destructive: false, idempotent: true, openWorld: false },
  input: z.strictObject({ id: InstanceWord.optional(), limit: Limit, offset: Offset }),
  output: z.strictObject({ snapshots: z.array(Snapshot), ...pageInfo }),
  async run({ id, limit, offset }, { engine, caller }) {
    const filter = id === undefined ? {} : { sourceId: (await findInstance(engine, caller, id)).id }
    const all = (await engine.snapshots.list(caller, filter)).filter(({ status }) => status === 'ready')
    const { page, info } = paged(all, limit, offset)
    return { data: { snapshots: page.map(present), ...info }, text: page.map(line).join('\n') || 'No snapshots.' }
  },
})

export const restoreSnapshot = defineTool({
  name: 'restore-snapshot',
  title: 'Go back to a snapshot',
  description: 'The instance becomes what it was: its files, and its processes where memory was kept. What it is now is lost; if it runs, it is switched off first.',
  toolset: 'snapshots',
  scope: 'write',
  hints: { readOnly: false, destructive: true, idempotent: false, openWorld: false },
  isLong: true,
  input: z.strictObject({ snapshot_id: SnapshotWord, state: State.describe('What it is to be then; by default it runs if memory was kept'), wait: Wait, timeout_ms: WaitMs }),
  output: z.strictObject({ ...Done.shape, snapshot: Snapshot }),
  async run({ snapshot_id: word, state, wait, timeout_ms: timeoutMs }, context) {
    const { engine, caller } = context
    const snapshot = await findSnapshot(engine, caller, word)
    const before = await findInstance(engine, caller, snapshot.sourceId)
    context.note({ instance: before.id })
    if (isServing(before.phase)) {
      const stopping = await engine.instances.stop(caller, before.id, { graceMs: 0 })
      const { timedOut } = await waitFor(context, stopping, ['stopped'], timeoutMs)
      if (timedOut) throw new BerthError('timeout', 'The instance is still being switched off: call again in a moment.')
    }
    const recorded = await engine.snapshots.restore(caller, before.id, snapshot.id, state === undefined ? {} : { target: state })
    const done = await outcome(context, recorded, wait, timeoutMs)
    return { data: { ...done.data, snapshot: present(snapshot) }, text: done.text }
  },
})

export const forkInstance = defineTool({
  name: 'fork-instance',
  title: 'Make another instance from here',
  description: 'A new instance that goes on from where this one is (id), with its running processes, or from a snapshot (snapshot_id). The source is not changed. Name, address and random numbers of the new one are its own.',
  toolset: 'snapshots',
  scope: 'write',
  hints: { readOnly: false, destructive: false, idempotent: false, openWorld: false },
  isLong: true,
  input: z.strictObject({
    id: InstanceWord.optional(),
    snapshot_id: SnapshotWord.optional(),
    name: Name.describe('Of the new instance'),
    state: State.describe('What it is to be; by default what its source is'),
    wait: Wait,
    timeout_ms: WaitMs,
  }),
  output: Done,
  async run({ id, snapshot_id: word, name, state, wait, timeout_ms: timeoutMs }, context) {
    const { engine, caller } = context
    const request = { name, ...(state === undefined ? {} : { target: state }) }
    if ((id === undefined) === (word === undefined)) throw new BerthError('invalid_request', 'Give either id or snapshot_id.')
    const fork =
      word === undefined
        ? await engine.snapshots.forkInstance(caller, (await findInstance(engine, caller, id ?? '')).id, { ...request, fromRunning: true })
        : await engine.snapshots.forkSnapshot(caller, (await findSnapshot(engine, caller, word)).id, request)
    context.note({ instance: fork.id })
    return outcome(context, fork, wait, timeoutMs)
  },
})

export const deleteSnapshot = defineTool({
  name: 'delete-snapshot',
  title: 'Delete a snapshot',
  description: 'Removes it for good. Instances that were made from it stay.',
  toolset: 'snapshots',
  scope: 'write',
  hints: { readOnly: false, destructive: true, idempotent: true, openWorld: false },
  input: z.strictObject({ snapshot_id: SnapshotWord }),
  output: z.strictObject({ id: z.string() }),
  async run({ snapshot_id: word }, { engine, caller }) {
    const snapshot = await findSnapshot(engine, caller, word)
    await engine.snapshots.delete(caller, snapshot.id)
    return { data: { id: snapshot.id }, text: `The snapshot ${quoteGo(snapshot.name ?? snapshot.id)} is deleted.` }
  },
})

async function outcome(context: ToolContext, recorded: InstanceRecord, wait: boolean, timeoutMs: number): Promise<{ data: z.output<typeof Done>; text: string }> {
  const { desired } = recorded
  const { instance, timedOut } = wait ? await waitFor(context, recorded, desired === 'deleted' ? [] : REACHED[desired], timeoutMs) : { instance: recorded, timedOut: false }
  const text = timedOut ? `${describe(instance)}\nIt is still on its way: wait-for-instance goes on waiting.` : describe(instance)
  return { data: { instance: presentBrief(instance), timed_out: timedOut }, text }
}

function present(snapshot: SnapshotRecord): z.output<typeof Snapshot> {
  return {
    id: snapshot.id,
    name: snapshot.name,
    kind: snapshot.kind,
    instance_id: snapshot.sourceId,
    instance_name: snapshot.sourceName,
    image: snapshot.spec.image,
    size_mib: Math.round((snapshot.sizeBytes / MIB) * 100) / 100,
    created_at: presentTime(snapshot.createdAt),
  }
}

function line(snapshot: SnapshotRecord): string {
  const { id, name, kind, size_mib: size, created_at: at } = present(snapshot)
  return `${name ?? '(no name)'} ${id}: ${snapshot.sourceName} at ${at}, ${kind}, ${size} MiB`
}

export const snapshotTools: readonly Tool[] = [createSnapshot, deleteSnapshot, forkInstance, listSnapshots, restoreSnapshot]
