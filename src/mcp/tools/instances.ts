/** Tools that tell which instances there are, and what became of them. */
import { z } from 'zod'
import type { InstanceFilter } from '../../engine/api.ts'
import { BerthError } from '../../instance/errors.ts'
import type { Instance, InstanceId } from '../../instance/model.ts'
import { koyebWords, phasesOfKoyebStatus } from '../../instance/projection.ts'
import { PHASES } from '../../instance/phase.ts'
import { ANNOTATION } from '../../instance/service.ts'
import { eventLine, instanceLine, NOTE_EVENT, presentEvent, presentInstance, presentSummary } from '../present.ts'
import { findInstance, readInstanceId } from '../resolve.ts'
import { Event, InstanceWord, Limit, Offset, One, Order, Status, Summary } from '../schema.ts'
import { defineTool } from '../tool.ts'
import type { Tool, ToolContext } from '../tool.ts'

const READ = { readOnly: true, destructive: false, idempotent: true, openWorld: false } as const
/** Instances looked through where a filter is not the store's own. */
const LOOK_THROUGH_LIMIT = 10_000
/** Events looked through for types that the store doesn't know. */
const EVENTS_LOOK_THROUGH_LIMIT = 10_000
const ID_LIMIT_CHARACTERS = 64

const Id = z.string().min(1).max(ID_LIMIT_CHARACTERS)
const Time = z.iso.datetime({ offset: true })

const ListInput = z.strictObject({
  app_id: Id.optional(),
  service_id: Id.optional(),
  deployment_id: Id.optional(),
  regional_deployment_id: Id.optional(),
  allocation_id: Id.optional(),
  replica_index: z.int().min(0).optional(),
  statuses: z.array(Status).min(1).max(8).optional().describe('Only instances with one of these; deleted ones are never listed'),
  limit: Limit,
  offset: Offset,
  order: Order.describe('By time of creation'),
  starting_time: Time.optional().describe('Created at or after this time'),
  ending_time: Time.optional().describe('Created at or before this time'),
})

export const listInstances = defineTool({
  name: 'list-instances',
  title: 'List instances',
  description: 'The instances of this project, newest first, in pages. Each has an id, a name, a status and a finer phase.',
  toolset: 'instances',
  scope: 'read',
  hints: READ,
  input: ListInput,
  output: z.strictObject({
    instances: z.array(Summary),
    count: z.int().describe('How many there are in all'),
    limit: z.int(),
    offset: z.int(),
    has_next: z.boolean(),
  }),
  async run(args, context) {
    const { limit, offset } = args
    const { page, count } = await pageOf(args, context)
    const lines = page.length === 0 ? ['No instances.'] : page.map(instanceLine)
    const has_next = offset + page.length < count
    const more = has_next ? [`${count - offset - page.length} more: ask again with offset ${offset + page.length}.`] : []
    return { data: { instances: page.map(presentSummary), count, limit, offset, has_next }, text: [...lines, ...more].join('\n') }
  },
})

async function pageOf(args: z.output<typeof ListInput>, { engine, caller }: ToolContext): Promise<{ page: readonly Instance[]; count: number }> {
  const filter = filterOf(args)
  const order = args.order === 'asc' ? 'oldest-first' : 'newest-first'
  if (filter === null) return { page: [], count: 0 }
  if (args.starting_time === undefined && args.ending_time === undefined) {
    const [page, count] = await Promise.all([
      engine.instances.list(caller, { ...filter, order, limit: args.limit, offset: args.offset }),
      engine.instances.count(caller, filter),
    ])
    return { page, count }
  }
  const from = args.starting_time === undefined ? Number.NEGATIVE_INFINITY : Date.parse(args.starting_time)
  const to = args.ending_time === undefined ? Number.POSITIVE_INFINITY : Date.parse(args.ending_time)
  const all = await engine.instances.list(caller, { ...filter, order, limit: LOOK_THROUGH_LIMIT })
  const within = all.filter(({ createdAt }) => createdAt >= from && createdAt <= to)
  return { page: within.slice(args.offset, args.offset + args.limit), count: within.length }
}

/** The store's own filter; null if nothing can match. */
function filterOf(args: z.output<typeof ListInput>): InstanceFilter | null {
  const annotations = {
    ...(args.app_id === undefined ? {} : { [ANNOTATION.app]: args.app_id }),
    ...(args.service_id === undefined ? {} : { [ANNOTATION.service]: args.service_id }),
    ...(args.deployment_id === undefined ? {} : { [ANNOTATION.deployment]: args.deployment_id }),
    ...(args.regional_deployment_id === undefined ? {} : { [ANNOTATION.set]: args.regional_deployment_id }),
    ...(args.replica_index === undefined ? {} : { [ANNOTATION.index]: String(args.replica_index) }),
  }
  // Each instance is an allocation of its own here.
  const allocation = args.allocation_id === undefined ? undefined : readInstanceId(args.allocation_id)
  if (allocation === null) return null
  return {
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
    ...(allocation === undefined ? {} : { ids: [allocation] }),
    ...(args.statuses === undefined ? {} : { phases: args.statuses.flatMap(phasesOfKoyebStatus) }),
  }
}

export const getInstance = defineTool({
  name: 'get-instance',
  title: 'Show an instance',
  description: 'All about one instance: status, address, size, ports, why it is in its phase, and how its application ended.',
  toolset: 'instances',
  scope: 'read',
  hints: READ,
  input: z.strictObject({ id: InstanceWord }),
  output: One,
  async run({ id }, context) {
    const instance = await findInstance(context.engine, context.caller, id)
    context.note({ instance: instance.id })
    return { data: { instance: presentInstance(instance) }, text: describe(instance) }
  },
})

export function describe(instance: Instance): string {
  const { spec, exit } = instance
  const ports = spec.network.ports.map(({ hostPort, guestPort, protocol }) => `${hostPort}→${guestPort}/${protocol}`)
  return [
    instanceLine(instance),
    `${spec.vcpus} vCPU, ${spec.memoryBytes / 2 ** 20} MiB of memory, ${spec.overlayBytes / 2 ** 20} MiB of disk`,
    ...(spec.place?.isSimulated === true ? ['simulated: it only pretends to run'] : []),
    ...(ports.length === 0 ? [] : [`ports ${ports.join(', ')}`]),
    ...(exit === null ? [] : [`its application ended: ${exit.message}, exit code ${exit.code}`]),
  ].join('\n')
}

const EVENT_TYPES = new Set([NOTE_EVENT, ...PHASES.map(phase => koyebWords(phase).event)])

export const listInstanceEvents = defineTool({
  name: 'list-instance-events',
  title: 'List what happened to instances',
  description: 'Steps of instances’ lives (ALLOCATED, STARTING, HEALTHY, SLEEPING, STOPPED, ERROR, …) and notes about them, newest first.',
  toolset: 'observe',
  scope: 'read',
  hints: READ,
  input: z.strictObject({
    instance_ids: z.array(InstanceWord).min(1).max(64).optional().describe('Ids or names; without it, of all instances'),
    types: z.array(z.string().min(1).max(64)).min(1).max(32).optional().describe('Only events of these types'),
    limit: Limit,
    offset: Offset,
    order: Order,
  }),
  output: z.strictObject({ events: z.array(Event), limit: z.int(), offset: z.int(), has_next: z.boolean() }),
  async run({ instance_ids: words, types, limit, offset, order }, { engine, caller }) {
    const instanceIds = words === undefined ? undefined : await Promise.all(words.map(word => idOf(engine, caller, word)))
    const query = {
      order: order === 'asc' ? ('oldest-first' as const) : ('newest-first' as const),
      ...(instanceIds === undefined ? {} : { instanceIds }),
    }
    const isKnown = types === undefined || types.some(type => EVENT_TYPES.has(type))
    const found = !isKnown
      ? []
      : types === undefined
        ? await engine.events.list(caller, { ...query, limit: limit + 1, offset })
        : (await engine.events.list(caller, { ...query, limit: EVENTS_LOOK_THROUGH_LIMIT }))
            .filter(event => types.includes(presentEvent(event).type))
            .slice(offset, offset + limit + 1)
    const page = found.slice(0, limit)
    const text = page.length === 0 ? 'No events.' : page.map(eventLine).join('\n')
    return { data: { events: page.map(presentEvent), limit, offset, has_next: found.length > limit }, text }
  },
})

/** Deleted instances have events, too: an id is taken as it is, as long as it is the project's own. */
async function idOf(engine: ToolContext['engine'], caller: ToolContext['caller'], word: string): Promise<InstanceId> {
  const id = readInstanceId(word)
  if (id === null) return (await findInstance(engine, caller, word)).id
  try {
    return (await engine.instances.get(caller, id)).id
  } catch (error) {
    if (error instanceof BerthError && error.code === 'not_found') return (await findInstance(engine, caller, word)).id
    throw error
  }
}

export const instanceTools: readonly Tool[] = [listInstances, getInstance, listInstanceEvents]
