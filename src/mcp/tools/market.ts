/**
 * Tools of the market, shown on request alone: what capacity costs, bids for it, and reservations of it. An order owns
 * instances like any other; money is dollars, prices are of one instance for one hour.
 */
import { z } from 'zod'
import type { NewOrder } from '../../engine/market/api.ts'
import type { Catalogue } from '../../instance/catalogue.ts'
import { BerthError } from '../../instance/errors.ts'
import { findInstance } from '../resolve.ts'
import { Argv, Env, InstanceName, InstanceWord, Limit, Offset, SecretNames } from '../schema.ts'
import { defineTool } from '../tool.ts'
import type { Tool } from '../tool.ts'
import { pageInfo, paged } from './catalogue.ts'
import { regionOf, typeOf } from './create.ts'
import { answer, dollars, Done, findOrder, micros, Order, orderLine, presentOrder } from './orders.ts'

const READ = { readOnly: true, destructive: false, idempotent: true, openWorld: false } as const
const SPENDS = { readOnly: false, destructive: false, idempotent: false, openWorld: false } as const
const ENDS = { readOnly: false, destructive: true, idempotent: true, openWorld: false } as const
const QUANTITY_LIMIT = 1000

const Usd = z.number().min(0).max(1_000_000)
const Word = z.string().min(1).max(63)
const When = z.iso.datetime({ offset: true })
const OrderWord = z.string().min(1).max(64).regex(/^[A-Za-z0-9_-]+$/).describe('Id or name of the order; list-orders tells them')
const where = { type: Word.describe('From list-instance-types'), region: Word.optional().describe('From list-regions; default this machine'), quantity: z.int().min(1).max(QUANTITY_LIMIT).default(1) }
const what = {
  name: InstanceName.describe('Its instances are named after it'),
  image: z.string().min(1).max(768),
  command: Argv.optional(),
  env: Env.optional(),
  secrets: SecretNames.optional(),
}

const listMarket = defineTool({
  name: 'list-market',
  title: 'List what capacity costs',
  description: 'Of each type in each region: what is free, the spot price, the least that a bid may offer, the price of a reservation and on demand.',
  toolset: 'market',
  scope: 'read',
  hints: READ,
  input: z.strictObject({ type: Word.optional(), region: Word.optional(), limit: Limit, offset: Offset }),
  output: z.strictObject({
    markets: z.array(
      z.strictObject({
        type: z.string(),
        region: z.string(),
        available: z.int().describe('Slots that nobody has'),
        total: z.int(),
        spot_usd_per_hour: z.number(),
        floor_usd_per_hour: z.number().describe('The least that a bid may offer'),
        reserved_usd_per_hour: z.number(),
        on_demand_usd_per_hour: z.number(),
      }),
    ),
    ...pageInfo,
  }),
  async run({ type, region, limit, offset }, { engine, caller }) {
    const supply = await engine.market.supply(caller, { ...(type === undefined ? {} : { type }), ...(region === undefined ? {} : { region }) })
    const { page, info } = paged(supply, limit, offset)
    const markets = page.map(each => ({
      type: each.type,
      region: each.region,
      available: each.available,
      total: each.total,
      spot_usd_per_hour: dollars(each.spotMicros),
      floor_usd_per_hour: dollars(each.floorMicros),
      reserved_usd_per_hour: dollars(each.reservedMicros),
      on_demand_usd_per_hour: dollars(each.onDemandMicros),
    }))
    const lines = markets.map(each => `${each.type} in ${each.region}: ${each.available} of ${each.total} free, spot $${each.spot_usd_per_hour}/h (at least $${each.floor_usd_per_hour}), reserved $${each.reserved_usd_per_hour}/h, on demand $${each.on_demand_usd_per_hour}/h`)
    return { data: { markets, ...info }, text: lines.join('\n') || 'Nothing is to be had.' }
  },
})

const placeBid = defineTool({
  name: 'place-bid',
  title: 'Bid for instances',
  description: 'Instances at the spot price, as long as it is at most the limit; others that bid more take them back after a notice. It competes at once, and costs money while it has instances: end-bid ends both.',
  toolset: 'market',
  scope: 'write',
  hints: SPENDS,
  input: z.strictObject({ ...what, ...where, limit_usd_per_hour: Usd.describe('The most for one instance, in whole cents') }),
  output: Done,
  async run({ limit_usd_per_hour: limit, ...wish }, context) {
    const bid = await context.engine.market.placeBid(context.caller, { ...orderOf(wish, context.catalogue), limitMicros: micros(limit) })
    return answer(bid)
  },
})

const updateBid = defineTool({
  name: 'update-bid',
  title: 'Change a bid',
  description: 'Another limit, or a pause: paused stops its instances and keeps their disks.',
  toolset: 'market',
  scope: 'write',
  hints: ENDS,
  input: z.strictObject({ id: OrderWord, limit_usd_per_hour: Usd.optional(), paused: z.boolean().optional() }),
  output: Done,
  async run({ id, limit_usd_per_hour: limit, paused }, context) {
    if (limit === undefined && paused === undefined) throw new BerthError('invalid_request', 'Say what shall change: limit_usd_per_hour or paused.')
    const bid = await findOrder(context, 'bid', id)
    return answer(await context.engine.market.updateBid(context.caller, bid.id, { ...(limit === undefined ? {} : { limitMicros: micros(limit) }), ...(paused === undefined ? {} : { paused }) }))
  },
})

const endBid = defineTool({
  name: 'end-bid',
  title: 'End a bid',
  description: 'Ends it and deletes its instances with their disks.',
  toolset: 'market',
  scope: 'write',
  hints: ENDS,
  input: z.strictObject({ id: OrderWord }),
  output: Done,
  run: async ({ id }, context) => answer(await context.engine.market.endBid(context.caller, (await findOrder(context, 'bid', id)).id)),
})

const Span = { start_at: When.optional().describe('RFC 3339; default now'), end_at: When }

const quoteReservation = defineTool({
  name: 'quote-reservation',
  title: 'Ask what a reservation costs',
  description: 'Whether there is room from start to end, and for how much. Reserves nothing.',
  toolset: 'market',
  scope: 'read',
  hints: READ,
  input: z.strictObject({ ...where, ...Span }),
  output: z.strictObject({ available: z.boolean(), unit_usd_per_hour: z.number(), total_usd: z.number() }),
  async run({ type, region, quantity, ...span }, { engine, caller, catalogue, now }) {
    const wish = { type: typeOf(catalogue, type).id, region: placeFor(region, catalogue), quantity, ...spanOf(span, now()) }
    const quote = await engine.market.quote(caller, wish)
    const data = { available: quote.isAvailable, unit_usd_per_hour: dollars(quote.unitMicros), total_usd: dollars(quote.totalMicros) }
    return { data, text: `${data.available ? 'There is room' : 'There is no room'}: $${data.unit_usd_per_hour}/h each, $${data.total_usd} in all.` }
  },
})

const placeReservation = defineTool({
  name: 'place-reservation',
  title: 'Reserve instances',
  description: 'Instances from start to end at a fixed price, charged in full. Ask quote-reservation first.',
  toolset: 'market',
  scope: 'write',
  hints: SPENDS,
  input: z.strictObject({ ...what, ...where, ...Span, max_unit_usd_per_hour: Usd.optional().describe('Refused if one instance costs more') }),
  output: Done,
  async run({ start_at, end_at, max_unit_usd_per_hour: most, ...wish }, context) {
    const span = spanOf({ start_at, end_at }, context.now())
    const order = { ...orderOf(wish, context.catalogue), ...span, ...(most === undefined ? {} : { maxUnitMicros: micros(most) }) }
    return answer(await context.engine.market.reserve(context.caller, order))
  },
})

const updateReservation = defineTool({
  name: 'update-reservation',
  title: 'Extend or pause a reservation',
  description: 'A later end, which costs more, or a pause of all its instances.',
  toolset: 'market',
  scope: 'write',
  hints: ENDS,
  input: z.strictObject({ id: OrderWord, end_at: When.optional(), paused: z.boolean().optional() }),
  output: Done,
  async run({ id, end_at: endAt, paused }, context) {
    const { engine, caller } = context
    if (endAt === undefined && paused === undefined) throw new BerthError('invalid_request', 'Say what shall change: end_at or paused.')
    const found = await findOrder(context, 'reservation', id)
    const extended = endAt === undefined ? found : await engine.market.extendReservation(caller, found.id, Date.parse(endAt))
    return answer(paused === undefined ? extended : await engine.market.updateReservation(caller, found.id, { paused }))
  },
})

const cancelReservation = defineTool({
  name: 'cancel-reservation',
  title: 'Cancel a reservation',
  description: 'Before it begins; afterwards it lasts to its end.',
  toolset: 'market',
  scope: 'write',
  hints: ENDS,
  input: z.strictObject({ id: OrderWord }),
  output: Done,
  run: async ({ id }, context) => answer(await context.engine.market.cancelReservation(context.caller, (await findOrder(context, 'reservation', id)).id)),
})

const listOrders = defineTool({
  name: 'list-orders',
  title: 'List bids and reservations',
  description: 'Orders of the project, newest first, with the ids of their instances.',
  toolset: 'market',
  scope: 'read',
  hints: READ,
  input: z.strictObject({ ended: z.boolean().default(false).describe('Those that are over as well'), limit: Limit, offset: Offset }),
  output: z.strictObject({ orders: z.array(Order), ...pageInfo }),
  async run({ ended, limit, offset }, { engine, caller }) {
    const filter = { liveOnly: !ended }
    const all = [...(await engine.market.bids(caller, filter)), ...(await engine.market.reservations(caller, filter))].toSorted((a, b) => b.createdAt - a.createdAt)
    const { page, info } = paged(all, limit, offset)
    return { data: { orders: page.map(presentOrder), ...info }, text: page.map(orderLine).join('\n') || 'No orders.' }
  },
})

const getUsage = defineTool({
  name: 'get-usage',
  title: 'Tell what instances cost',
  description: 'What the project’s instances, or one, cost in a span of time, less credits.',
  toolset: 'market',
  scope: 'read',
  hints: READ,
  input: z.strictObject({ id: InstanceWord.optional(), from: When.optional().describe('Default: the beginning of the project'), until: When.optional().describe('Default: now'), limit: Limit, offset: Offset }),
  output: z.strictObject({
    net_usd: z.number(),
    cost_usd: z.number(),
    credit_usd: z.number(),
    lines: z.array(z.strictObject({ instance_id: z.string(), net_usd: z.number(), paid_hours: z.number() })),
    ...pageInfo,
  }),
  async run({ id, from, until, limit, offset }, { engine, caller }) {
    const usage = await engine.market.usage(caller, {
      ...(id === undefined ? {} : { instanceIds: [(await findInstance(engine, caller, id)).id] }),
      ...(from === undefined ? {} : { from: Date.parse(from) }),
      ...(until === undefined ? {} : { until: Date.parse(until) }),
    })
    const { page, info } = paged(usage.lines, limit, offset)
    const lines = page.map(({ instanceId, netMicros, paidMs }) => ({ instance_id: instanceId, net_usd: dollars(netMicros), paid_hours: Math.round(paidMs / 36) / 100_000 }))
    const data = { net_usd: dollars(usage.netMicros), cost_usd: dollars(usage.costMicros), credit_usd: dollars(usage.creditMicros), lines, ...info }
    return { data, text: [`$${data.net_usd} in all.`, ...lines.map(each => `${each.instance_id}: $${each.net_usd} for ${each.paid_hours} h`)].join('\n') }
  },
})

interface Wish {
  readonly name: string
  readonly image: string
  readonly type: string
  readonly region?: string | undefined
  readonly quantity: number
  readonly command?: readonly string[] | undefined
  readonly env?: Readonly<Record<string, string>> | undefined
  readonly secrets?: readonly string[] | undefined
}

function orderOf({ name, image, type, region, quantity, command, env, secrets }: Wish, catalogue: Catalogue): NewOrder {
  const template = { image, pull: 'missing', ...(command === undefined ? {} : { cmd: command }), ...(env === undefined ? {} : { env }), ...(secrets === undefined ? {} : { secrets }) } as const
  return { name, type: typeOf(catalogue, type).id, region: placeFor(region, catalogue), quantity, launch: { template } }
}

function placeFor(region: string | undefined, catalogue: Catalogue): string {
  if (region !== undefined) return regionOf(catalogue, region).id
  const home = catalogue.regions.find(each => each.simulated === null)
  if (home === undefined) throw new BerthError('invalid_request', 'Say which region: list-regions tells them.')
  return home.id
}

function spanOf({ start_at: start, end_at: end }: { readonly start_at?: string | undefined; readonly end_at: string }, now: number) {
  return { startAt: start === undefined ? now : Date.parse(start), endAt: Date.parse(end) }
}

export const marketTools: readonly Tool[] = [
  cancelReservation,
  endBid,
  getUsage,
  listMarket,
  listOrders,
  placeBid,
  placeReservation,
  quoteReservation,
  updateBid,
  updateReservation,
]
