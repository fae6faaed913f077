/** What is to be had, and for how much: availability of spot capacity, prices of now, and how they went. */
import type { FastifyRequest } from 'fastify'
import type { PriceSeries } from '../../engine/market/api.ts'
import { centsOf } from '../../instance/market.ts'
import { defaultImageVersion } from './account.ts'
import { queryFields } from './body.ts'
import { httpError } from './errors.ts'
import { auctionFid, typeFid } from './fids.ts'
import { moneyOf } from './orders.ts'
import type * as wire from './schema.ts'
import { QUANTITY_LIMIT } from './schema.ts'
import type { Shape } from './shape.ts'
import { findShape, regionName, shapeOf, shapesOf } from './shape.ts'
import type { Surface } from './surface.ts'
import { callerOf } from './surface.ts'
import { formatTime } from './time.ts'

/** What the id of a type looks like, the vendor's and ours. */
const TYPE_FID = /^it_[A-Za-z0-9]{16,32}$/
const SAMPLES_LIMIT = 1000
const DEFAULT_SAMPLES = 100
/** Without a start time: a month back. */
const DEFAULT_SPAN_MS = 30 * 86_400_000

/** One row for each type in each region. Its filters are not documented; one client sends them. */
export async function listAvailability(surface: Surface, request: FastifyRequest): Promise<readonly wire.Auction[]> {
  const caller = callerOf(request)
  const query = queryFields(request)
  const type = query.text('instance_type')
  const region = query.text('region')
  query.finish()
  const [supply, image] = await Promise.all([surface.engine.market.supply(caller), defaultImageVersion(surface, caller)])
  return shapesOf(surface.catalogue)
    .filter(shape => type === null || typeFid(shape.region, shape.type) === type || shape.type.names.mithril === type)
    .filter(shape => region === null || regionName(shape.region) === region)
    .flatMap(shape => {
      const line = supply.find(one => isOf(one, shape))
      if (line === undefined) return []
      const row: wire.Auction = {
        fid: auctionFid(shape.region, shape.type),
        instance_type: typeFid(shape.region, shape.type),
        region: regionName(shape.region),
        capacity: line.capacity,
        last_instance_price: moneyOf(line.spotMicros),
        lowest_allocated_price: line.lowestAllocatedMicros === null ? null : moneyOf(line.lowestAllocatedMicros),
        adjustable_memory: true,
        default_image_version: image,
      }
      return [row]
    })
}

export async function getCurrentPrices(surface: Surface, request: FastifyRequest): Promise<wire.CurrentPrices> {
  const caller = callerOf(request)
  const query = queryFields(request)
  const type = query.required.text('instance_type')
  const region = query.text('region')
  const quantity = query.integer('instance_quantity', { minimum: 1, maximum: QUANTITY_LIMIT }) ?? 1
  query.finish()
  // Clients carry the ids of the vendor's own types and ask for their prices, too: at 404 they look elsewhere.
  if (TYPE_FID.test(type) && shapeOf(surface.catalogue, type) === null) throw noMarket()
  const shape = findShape(surface.catalogue, 'query', type, region)
  const wish = { type: shape.type.id, region: shape.region.id }
  const [[supply], winMicros] = await Promise.all([surface.engine.market.supply(caller, wish), surface.engine.market.priceToWin(caller, { ...wish, quantity })])
  if (supply === undefined) throw noMarket()
  return {
    spot_price_cents: centsOf(supply.spotMicros),
    reserved_price_cents: centsOf(supply.reservedMicros),
    minimum_price_cents: centsOf(supply.floorMicros),
    lowest_allocated_bid_cents: supply.lowestAllocatedMicros === null ? null : centsOf(supply.lowestAllocatedMicros),
    dynamic_win_price_cents: winMicros === null ? null : centsOf(winMicros),
    available_capacity: supply.available,
    total_capacity: supply.total,
  }
}

function noMarket(): Error {
  return httpError(404, 'There is no market for this instance type: GET /v2/spot/availability lists those that there are.')
}

/** As many samples as are asked for, evenly over the time; -1 gives each change of price. */
export async function listPrices(surface: Surface, request: FastifyRequest): Promise<{ readonly series: readonly wire.PriceSeries[]; readonly complete: boolean }> {
  const caller = callerOf(request)
  const query = queryFields(request, ['instance_types'])
  const types = query.words('instance_types')
  const region = query.text('region')
  const samples = query.integer('num_samples', { minimum: -1, maximum: SAMPLES_LIMIT }) ?? DEFAULT_SAMPLES
  const until = query.time('end_time') ?? surface.now()
  const from = query.time('start_time') ?? until - DEFAULT_SPAN_MS
  if (query.issues.length === 0 && from > until) query.wrong('start_time', 'it must not be after end_time')
  query.finish()
  const wanted = shapesOf(surface.catalogue)
    .filter(shape => types === null || types.some(type => type === typeFid(shape.region, shape.type) || type === shape.type.names.mithril))
    .filter(shape => region === null || regionName(shape.region) === region)
  const histories = await surface.engine.market.priceHistory(caller, { from, until })
  const series = wanted.flatMap(shape => {
    const history = histories.find(one => isOf(one, shape))
    return history === undefined ? [] : [presentSeries(shape, history, sampleTimes(history, samples, from, until))]
  })
  return { series, complete: true }
}

function presentSeries({ type, region }: Shape, history: PriceSeries, times: readonly number[]): wire.PriceSeries {
  const priced = times.flatMap(at => {
    const point = history.points.findLast(one => one.at <= at)
    return point === undefined ? [] : [{ at, spotMicros: point.spotMicros }]
  })
  return {
    instance_type: typeFid(region, type),
    region: regionName(region),
    timestamps: priced.map(({ at }) => formatTime(at)),
    spot_prices: priced.map(({ spotMicros }) => moneyOf(spotMicros)),
    reserved_prices: priced.map(() => moneyOf(history.reservedMicros)),
    region_disabled: false,
  }
}

function sampleTimes(history: PriceSeries, samples: number, from: number, until: number): readonly number[] {
  if (samples < 0) return history.points.map(point => point.at)
  if (samples === 1) return [until]
  return Array.from({ length: samples }, (_, index) => from + ((until - from) * index) / (samples - 1))
}

function isOf(line: { readonly type: string; readonly region: string }, shape: Shape): boolean {
  return line.type === shape.type.id && line.region === shape.region.id
}
