/** Orders, what happened to them, what markets were at, and what instances were priced at. */
import { sql } from 'kysely'
import type { Kysely, Selectable, SelectQueryBuilder } from 'kysely'
import type { OrderQuery, PeriodQuery, StoreReader, StoreTx } from '../engine/store-port.ts'
import type { MarketPoint, Order, OrderEvent, OrderId, OrderKind, Orders, PricePeriod } from '../instance/market.ts'
import type { InstanceId, ProjectId } from '../instance/model.ts'
import type { Database, MarketPointTable, PricePeriodTable } from './schema.ts'
import { isAlso, isOneOf } from './sqlite.ts'

const NO_LIMIT = Number.MAX_SAFE_INTEGER

type MarketReads = Pick<StoreReader, 'order' | 'orders' | 'countOrders' | 'orderEvents' | 'marketNow' | 'marketPoints' | 'periods'>

export function readMarket(db: Kysely<Database>): MarketReads {
  return {
    async order<K extends OrderKind>(kind: K, id: OrderId) {
      const row = await db.selectFrom('market_orders').select('record').where('id', '=', id).where('kind', '=', kind).executeTakeFirst()
      return row === undefined ? null : (JSON.parse(row.record) as Orders[K])
    },
    async orders<K extends OrderKind>(kind: K, query: OrderQuery) {
      const direction = query.order === 'oldest-first' ? 'asc' : 'desc'
      let select = filteredOrders(db.selectFrom('market_orders').select('record'), kind, query)
      select = select.orderBy('created_at', direction).orderBy('id', direction)
      if (query.limit !== undefined || query.offset) select = select.limit(query.limit ?? NO_LIMIT)
      if (query.offset) select = select.offset(query.offset)
      return (await select.execute()).map((row) => JSON.parse(row.record) as Orders[K])
    },
    async countOrders(kind, query) {
      const select = filteredOrders(db.selectFrom('market_orders'), kind, query).select(({ fn }) => fn.countAll<number>().as('count'))
      return (await select.executeTakeFirstOrThrow()).count
    },
    async orderEvents(orderId) {
      const rows = await db.selectFrom('market_events').selectAll().where('order_id', '=', orderId).orderBy('seq').execute()
      return rows.map(({ order_id, project_id, details, ...row }) => ({
        ...row,
        orderId: order_id as OrderId,
        projectId: project_id as ProjectId,
        details: JSON.parse(details) as OrderEvent['details'],
      }))
    },
    async marketNow({ type, region }) {
      let newest = db.selectFrom('market_points').select(({ fn }) => fn.max('seq').as('seq')).groupBy(['region', 'type'])
      if (region !== undefined) newest = newest.where('region', '=', region)
      if (type !== undefined) newest = newest.where('type', '=', type)
      return (await db.selectFrom('market_points').selectAll().where('seq', 'in', newest).orderBy('region').orderBy('type').execute()).map(toPoint)
    },
    async marketPoints({ type, region, from, until }) {
      let before = db.selectFrom('market_points').select(({ fn }) => fn.max('seq').as('seq')).where('at', '<=', from).groupBy(['region', 'type'])
      let within = db.selectFrom('market_points').select('seq').where('at', '>', from).where('at', '<', until)
      if (region !== undefined) {
        before = before.where('region', '=', region)
        within = within.where('region', '=', region)
      }
      if (type !== undefined) {
        before = before.where('type', '=', type)
        within = within.where('type', '=', type)
      }
      const chosen = db.selectFrom('market_points').selectAll().where((where) => where.or([where('seq', 'in', before), where('seq', 'in', within)]))
      return (await chosen.orderBy('seq').execute()).map(toPoint)
    },
    async periods(query) {
      let select = filteredPeriods(db.selectFrom('price_periods').selectAll(), query).orderBy('start_at').orderBy('id')
      if (query.limit !== undefined || query.offset) select = select.limit(query.limit ?? NO_LIMIT)
      if (query.offset) select = select.offset(query.offset)
      return (await select.execute()).map(toPeriod)
    },
  }
}

export function writeMarket(db: Kysely<Database>): Pick<StoreTx, 'putOrder' | 'appendOrderEvent' | 'putMarketPoint' | 'putPeriod'> {
  return {
    async putOrder<K extends OrderKind>(kind: K, record: Orders[K]) {
      const order: Order = record
      const columns = {
        kind,
        project_id: order.projectId,
        name: order.name,
        type: order.type,
        region: order.region,
        status: order.status,
        is_live: order.deactivatedAt === null ? (1 as const) : (0 as const),
        created_at: order.createdAt,
        record: JSON.stringify(order),
      }
      await db
        .insertInto('market_orders')
        .values({ id: order.id, ...columns })
        .onConflict((conflict) => conflict.column('id').doUpdateSet(columns))
        .execute()
    },
    async appendOrderEvent({ orderId, projectId, details, ...event }) {
      await db
        .insertInto('market_events')
        .values({ ...event, order_id: orderId, project_id: projectId, details: JSON.stringify(details) })
        .execute()
    },
    async putMarketPoint({ spotMicros, ...point }) {
      await db.insertInto('market_points').values({ ...point, spot_micros: spotMicros }).execute()
    },
    async putPeriod(period) {
      if (period.endAt !== null && period.endAt <= period.startAt) {
        await db.deleteFrom('price_periods').where('id', '=', period.id).execute()
        return
      }
      const columns = {
        instance_id: period.instanceId,
        project_id: period.projectId,
        order_id: period.orderId,
        kind: period.kind,
        type: period.type,
        region: period.region,
        price_micros: period.priceMicros,
        start_at: period.startAt,
        end_at: period.endAt,
      }
      await db
        .insertInto('price_periods')
        .values({ id: period.id, ...columns })
        .onConflict((conflict) => conflict.column('id').doUpdateSet(columns))
        .execute()
    },
  }
}

function filteredOrders<O>(select: SelectQueryBuilder<Database, 'market_orders', O>, kind: OrderKind, query: OrderQuery): SelectQueryBuilder<Database, 'market_orders', O> {
  let narrowed = select.where('kind', '=', kind)
  if (query.projectId !== null) narrowed = narrowed.where('project_id', '=', query.projectId)
  if (query.name !== undefined) narrowed = narrowed.where('name', '=', query.name)
  if (query.type !== undefined) narrowed = narrowed.where('type', '=', query.type)
  if (query.region !== undefined) narrowed = narrowed.where('region', '=', query.region)
  if (query.statuses !== undefined) narrowed = narrowed.where(isOneOf('status', query.statuses))
  // A literal, so that the index of the living serves.
  if (query.liveOnly === true) narrowed = narrowed.where('is_live', '=', sql.lit(1))
  return narrowed
}

function filteredPeriods<O>(select: SelectQueryBuilder<Database, 'price_periods', O>, query: PeriodQuery): SelectQueryBuilder<Database, 'price_periods', O> {
  let narrowed = select
  const isNarrow = query.instanceIds !== undefined || query.orderId !== undefined
  if (query.projectId !== null) {
    const project = query.projectId
    narrowed = isNarrow ? narrowed.where(isAlso('project_id', project)) : narrowed.where('project_id', '=', project)
  }
  if (query.instanceIds !== undefined) narrowed = narrowed.where(isOneOf('instance_id', query.instanceIds))
  if (query.orderId !== undefined) narrowed = narrowed.where('order_id', '=', query.orderId)
  if (query.kinds !== undefined) narrowed = narrowed.where(isOneOf('kind', query.kinds))
  if (query.type !== undefined) narrowed = narrowed.where('type', '=', query.type)
  if (query.region !== undefined) narrowed = narrowed.where('region', '=', query.region)
  if (query.openOnly === true) narrowed = narrowed.where('end_at', 'is', null)
  const { from, until } = query
  if (from !== undefined) narrowed = narrowed.where((where) => where.or([where('end_at', 'is', null), where('end_at', '>', from)]))
  if (until !== undefined) narrowed = narrowed.where('start_at', '<', until)
  return narrowed
}

function toPoint({ seq: _seq, spot_micros, ...row }: Selectable<MarketPointTable>): MarketPoint {
  return { ...row, spotMicros: spot_micros }
}

function toPeriod(row: Selectable<PricePeriodTable>): PricePeriod {
  return {
    id: row.id,
    instanceId: row.instance_id as InstanceId,
    projectId: row.project_id as ProjectId,
    orderId: row.order_id as OrderId | null,
    kind: row.kind,
    type: row.type,
    region: row.region,
    priceMicros: row.price_micros,
    startAt: row.start_at,
    endAt: row.end_at,
  }
}
