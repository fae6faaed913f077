/** Tools that change what an instance is doing. Each answers when it is done, unless it is told not to wait. */
import { z } from 'zod'
import type { InstanceChange } from '../../engine/api.ts'
import type { InstanceShape } from '../../engine/reshaping.ts'
import { BerthError } from '../../instance/errors.ts'
import type { Instance as InstanceRecord } from '../../instance/model.ts'
import { KOYEB_STATUSES, koyebStatus, phasesOfKoyebStatus } from '../../instance/projection.ts'
import type { Phase } from '../../instance/phase.ts'
import { isServing } from '../../instance/phase.ts'
import { acceptHealthChecks, HealthChecks } from '../health-checks.ts'
import { publishing } from '../ports.ts'
import { presentBrief, presentInstance } from '../present.ts'
import { findInstance, readInstanceId } from '../resolve.ts'
import { acceptAutoStandby, acceptRestart, AutoStandby, Brief, Env, InstanceName, InstanceWord, One, Ports, Restart, SecretNames, Status, Tags, Wait, WaitMs } from '../schema.ts'
import { called, defineTool } from '../tool.ts'
import type { Tool, ToolContext } from '../tool.ts'
import { waitFor } from '../waiting.ts'
import { placeOf, typeOf } from './create.ts'
import { describe } from './instances.ts'

const STARTS = { readOnly: false, destructive: false, idempotent: true, openWorld: false } as const
const STOPS = { readOnly: false, destructive: true, idempotent: true, openWorld: false } as const
const STOP_GRACE_LIMIT_S = 3600
const MIB = 2 ** 20

const Acting = z.strictObject({ id: InstanceWord, wait: Wait, timeout_ms: WaitMs })
const Done = z.strictObject({ instance: Brief, timed_out: z.boolean().describe('It is still on its way') })

interface Action {
  readonly recorded: InstanceRecord
  readonly until: readonly Phase[]
}

/** Finds the instance, acts, and waits for what the action leads to. `null` of the action: it is there already. */
async function act(
  { id, wait, timeout_ms: timeoutMs }: { readonly id: string; readonly wait: boolean; readonly timeout_ms: number },
  context: ToolContext,
  action: (instance: InstanceRecord) => Promise<Action | null>,
): Promise<{ data: z.output<typeof Done>; text: string }> {
  const before = await findInstance(context.engine, context.caller, id)
  context.note({ instance: before.id })
  const acted = await action(before)
  if (acted === null) return done(before, false)
  if (!wait) return done(acted.recorded, false)
  const { instance, timedOut } = await waitFor(context, acted.recorded, acted.until, timeoutMs)
  return done(instance, timedOut)
}

function done(instance: InstanceRecord, timedOut: boolean) {
  const text = timedOut ? `${describe(instance)}\nIt is still on its way: wait-for-instance goes on waiting.` : describe(instance)
  return { data: { instance: presentBrief(instance), timed_out: timedOut }, text }
}

export const startInstance = defineTool({
  name: 'start-instance',
  title: 'Start an instance',
  description: 'Starts an instance that is stopped, or wakes one that sleeps with all its processes. One that runs stays as it is.',
  toolset: 'lifecycle',
  scope: 'write',
  hints: STARTS,
  isLong: true,
  input: Acting,
  output: Done,
  run: (args, context) =>
    act(args, context, async instance => {
      const { engine, caller } = context
      const until = ['running', 'unhealthy'] as const
      if (isServing(instance.phase)) return null
      if (['pending', 'allocated', 'preparing', 'starting', 'restoring'].includes(instance.phase)) return { recorded: instance, until }
      const recorded = await (instance.phase === 'standby' ? engine.instances.restore(caller, instance.id) : engine.instances.start(caller, instance.id))
      return { recorded, until }
    }),
})

export const stopInstance = defineTool({
  name: 'stop-instance',
  title: 'Stop an instance',
  description: 'Ends its application (SIGTERM, then SIGKILL) and switches it off; what it wrote to its disk stays. A sleeping one loses its saved memory.',
  toolset: 'lifecycle',
  scope: 'write',
  hints: STOPS,
  isLong: true,
  input: z.strictObject({
    ...Acting.shape,
    timeout_s: z.int().min(0).max(STOP_GRACE_LIMIT_S).optional().describe('Seconds between SIGTERM and SIGKILL; default 10'),
    force: z.boolean().default(false).describe('SIGKILL at once'),
  }),
  output: Done,
  run: (args, context) =>
    act(args, context, async instance => {
      const until = ['stopped'] as const
      if (instance.phase === 'stopped' && instance.desired === 'stopped') return null
      if (instance.phase === 'stopping') return { recorded: instance, until }
      const graceMs = args.force ? 0 : args.timeout_s === undefined ? undefined : args.timeout_s * 1000
      const options = { fromStandby: true, ...(graceMs === undefined ? {} : { graceMs }) }
      return { recorded: await context.engine.instances.stop(context.caller, instance.id, options), until }
    }),
})

export const restartInstance = defineTool({
  name: 'restart-instance',
  title: 'Restart an instance',
  description: 'Stops and starts it again: its processes end, its disk stays.',
  toolset: 'lifecycle',
  scope: 'write',
  hints: { ...STOPS, idempotent: false },
  isLong: true,
  input: Acting,
  output: Done,
  run: (args, context) =>
    act(args, context, async instance => ({
      recorded: await context.engine.instances.restart(context.caller, instance.id),
      until: ['running', 'unhealthy'],
    })),
})

export const suspendInstance = defineTool({
  name: 'suspend-instance',
  title: 'Put an instance to sleep',
  description: 'Saves its memory and frees what it held of the host; start-instance or exec-command wakes it where it was.',
  toolset: 'lifecycle',
  scope: 'write',
  hints: STOPS,
  isLong: true,
  input: Acting,
  output: Done,
  run: (args, context) =>
    act(args, context, async instance => {
      const until = ['standby'] as const
      if (instance.phase === 'standby') return null
      if (instance.phase === 'suspending') return { recorded: instance, until }
      return { recorded: await context.engine.instances.standby(context.caller, instance.id), until }
    }),
})

export const updateInstance = defineTool({
  name: 'update-instance',
  title: 'Change an instance',
  description:
    'Changes only what is given. Ports open and close at once. Variables count from the next start on. Size (type, vcpus, memory_mib) changes only while it is stopped: stop-instance, update-instance, start-instance.',
  toolset: 'lifecycle',
  scope: 'write',
  hints: STOPS,
  input: z.strictObject({
    id: InstanceWord,
    name: InstanceName.optional(),
    type: z.string().min(1).max(63).optional().describe('Size from list-instance-types; its disk stays'),
    vcpus: z.int().min(1).max(1024).optional(),
    memory_mib: z.int().min(16).max(16_777_216).optional(),
    ports: Ports.optional().describe('All of its published ports, instead of those it has; like [{"guest_port":80}]'),
    env: Env.optional().describe('All of its variables, instead of those it has'),
    secrets: SecretNames.optional().describe('Names of all of its secrets, instead of those it has'),
    tags: Tags.optional().describe('All of its tags, instead of those it has'),
    health_checks: HealthChecks.optional().describe('All of its checks, instead of those it has; [] is none'),
    auto_standby: AutoStandby.optional().describe('As in create-instance; null is never'),
    restart: Restart.optional(),
    expires_in_s: z.int().min(1).max(31_536_000).nullable().optional().describe('Deleted by itself after so long; null is never'),
  }),
  output: One,
  async run({ id, env, secrets, tags, health_checks: healthChecks, auto_standby: autoStandby, restart, expires_in_s: expiresInS, ports, ...wish }, context) {
    const { engine, caller } = context
    const found = await findInstance(engine, caller, id)
    context.note({ instance: found.id })
    const shape = shapeOf(wish, found, context)
    const reshape = (whole: InstanceShape): Promise<InstanceRecord> => engine.instances.reshape(caller, found.id, whole)
    const reshaped = ports !== undefined ? await publishing(ports, found.spec.network.ports, mapped => reshape({ ...shape, ports: mapped })) : shape === null ? found : await reshape(shape)
    const change: InstanceChange = {
      ...(env === undefined ? {} : { env }),
      ...(secrets === undefined ? {} : { secrets }),
      ...(tags === undefined ? {} : { tags }),
      ...(healthChecks === undefined ? {} : { healthChecks: acceptHealthChecks(healthChecks) }),
      ...(autoStandby === undefined ? {} : { autoStandby: acceptAutoStandby(autoStandby) }),
      ...(restart === undefined ? {} : { restart: acceptRestart(restart) }),
      ...(expiresInS === undefined ? {} : { expiresAt: expiresInS === null ? null : context.now() + expiresInS * 1000 }),
    }
    const isAll = Object.keys(change).length === 0
    if (isAll && shape === null && ports === undefined) throw new BerthError('invalid_request', 'Say what shall change: name, type, vcpus, memory_mib, ports, env, secrets, tags, health_checks, auto_standby, restart or expires_in_s.')
    const instance = isAll ? reshaped : await engine.instances.update(caller, found.id, change)
    return { data: { instance: presentInstance(instance) }, text: describe(instance) }
  },
})

interface ShapeWish {
  readonly name?: string | undefined
  readonly type?: string | undefined
  readonly vcpus?: number | undefined
  readonly memory_mib?: number | undefined
}

function shapeOf({ name, type: typeId, vcpus, memory_mib: memoryMib }: ShapeWish, { spec }: InstanceRecord, { catalogue }: ToolContext): InstanceShape | null {
  const isSized = typeId !== undefined || vcpus !== undefined || memoryMib !== undefined
  if (name === undefined && !isSized) return null
  const type = typeId === undefined ? null : typeOf(catalogue, typeId)
  const region = catalogue.regions.find(each => each.id === spec.place?.region) ?? null
  const size = {
    vcpus: vcpus ?? type?.vcpus ?? spec.vcpus,
    memoryBytes: memoryMib === undefined ? (type?.memoryBytes ?? spec.memoryBytes) : memoryMib * MIB,
    place: type === null ? (spec.place ?? null) : placeOf(catalogue, region, type),
  }
  return { ...(name === undefined ? {} : { name }), ...(isSized ? { size } : {}) }
}

export const deleteInstance = defineTool({
  name: 'delete-instance',
  title: 'Delete an instance',
  description: 'Ends it and removes its disk for good. Volumes stay unless delete_volumes says otherwise.',
  toolset: 'lifecycle',
  scope: 'write',
  hints: STOPS,
  isLong: true,
  input: z.strictObject({
    ...Acting.shape,
    delete_volumes: z.boolean().default(false).describe('Also the volumes that it alone writes to; needs wait'),
    force: z.boolean().default(false).describe('Without SIGTERM and grace'),
  }),
  output: z.strictObject({ id: z.string(), status: Status, phase: z.string(), deleted_volumes: z.array(z.string()) }),
  async run(args, context) {
    const { engine, caller } = context
    if (args.delete_volumes && !args.wait) throw new BerthError('invalid_request', 'delete_volumes needs wait: volumes can go only after the instance.')
    const found = await findInstance(engine, caller, args.id)
    context.note({ instance: found.id })
    const recorded = await engine.instances.delete(caller, found.id, { graceful: !args.force })
    const instance = args.wait ? (await waitFor(context, recorded, ['deleted'], args.timeout_ms)).instance : recorded
    const isGone = instance.phase === 'deleted'
    const volumes = args.delete_volumes && isGone ? found.spec.volumes.filter(({ mode }) => mode === 'rw').map(({ volumeId }) => volumeId) : []
    for (const volumeId of volumes) await engine.volumes.delete(caller, volumeId)
    const text = isGone ? `${called(instance)} is deleted.` : `${called(instance)} is being deleted (${instance.phase}).`
    const data = { id: instance.id, status: koyebStatus(instance.phase), phase: instance.phase, deleted_volumes: volumes.map(String) }
    return { data, text: volumes.length === 0 ? text : `${text} So are its volumes ${volumes.join(', ')}.` }
  },
})

const AWAITED = [...KOYEB_STATUSES, 'DELETED'] as const

export const waitForInstance = defineTool({
  name: 'wait-for-instance',
  title: 'Wait for an instance',
  description: 'Answers when the instance has the status, or can’t get it any more, or the time is over.',
  toolset: 'observe',
  scope: 'read',
  hints: { readOnly: true, destructive: false, idempotent: true, openWorld: false },
  isLong: true,
  input: z.strictObject({ id: InstanceWord, status: z.enum(AWAITED), timeout_ms: WaitMs }),
  output: z.strictObject({ instance: Brief, reached: z.boolean(), elapsed_ms: z.int() }),
  async run({ id, status, timeout_ms: timeoutMs }, context) {
    const startedAt = performance.now()
    const found = await findAlsoDeleted(context, id)
    context.note({ instance: found.id })
    const until = status === 'DELETED' ? (['deleted'] as const) : phasesOfKoyebStatus(status)
    const isThere = until.includes(found.phase)
    const instance = isThere ? found : (await patiently(context, found, until, timeoutMs)).instance
    const reached = until.includes(instance.phase)
    const elapsed = Math.round(performance.now() - startedAt)
    const text = reached ? describe(instance) : `${describe(instance)}\nIt is not ${status} after ${elapsed} ms.`
    return { data: { instance: presentBrief(instance), reached, elapsed_ms: elapsed }, text }
  },
})

/** A failure on the way is an answer here, not an error. */
async function patiently(context: ToolContext, found: InstanceRecord, until: readonly Phase[], timeoutMs: number): Promise<{ instance: InstanceRecord }> {
  try {
    return await waitFor(context, found, until, timeoutMs)
  } catch (error) {
    if (!(error instanceof BerthError) || error.details['instanceId'] !== found.id) throw error
    return { instance: await context.engine.instances.get(context.caller, found.id) }
  }
}

async function findAlsoDeleted({ engine, caller }: ToolContext, word: string): Promise<InstanceRecord> {
  const id = readInstanceId(word)
  if (id === null) return findInstance(engine, caller, word)
  try {
    return await engine.instances.get(caller, id)
  } catch (error) {
    if (error instanceof BerthError && error.code === 'not_found') return findInstance(engine, caller, word)
    throw error
  }
}

export const lifecycleTools: readonly Tool[] = [
  deleteInstance,
  restartInstance,
  startInstance,
  stopInstance,
  suspendInstance,
  updateInstance,
  waitForInstance,
]
