/** Lists of bids and reservations: the same filters, order and pages. */
import type { Order } from '../../instance/market.ts'
import { MAX_LIMIT, pageOf, SORT_DIRECTIONS } from './cursor.ts'
import type { SortDirection } from './cursor.ts'
import type * as wire from './schema.ts'
import type { Fields } from './validation.ts'

export interface OrderFilter<Status extends string> {
  readonly type: string | null
  readonly region: string | null
  readonly status: Status | null
  readonly sort: 'created_at' | 'status'
  readonly direction: SortDirection
  readonly limit: number | null
  readonly cursor: string | null
}

/** Reads what both lists take; the caller finishes the query. */
export function acceptOrderFilter<Status extends string>(query: Fields, statuses: readonly Status[]): OrderFilter<Status> {
  return {
    cursor: query.text('next_cursor'),
    sort: query.choice('sort_by', ['created_at', 'status']) ?? 'created_at',
    direction: query.choice('sort_dir', SORT_DIRECTIONS, 'enum') ?? 'desc',
    type: query.text('instance_type'),
    region: query.text('region'),
    status: query.choice('status', statuses),
    limit: query.integer('limit', { minimum: 1, maximum: MAX_LIMIT }),
  }
}

interface OrderRow<Status extends string> {
  readonly fid: string
  readonly status: Status
  readonly instance_type: string
  readonly region: string | null
}

/** A page of orders; `timeOf` says where one stands when they are sorted by age. */
export function orderPage<O extends Order, Status extends string, Row extends OrderRow<Status>>(
  orders: readonly O[],
  { filter, present, timeOf }: { readonly filter: OrderFilter<Status>; readonly present: (order: O) => Row; readonly timeOf: (order: O) => number },
): wire.Page<Row> {
  const { type, region, status, sort, direction, limit, cursor } = filter
  const rows = orders
    .map(order => ({ order, row: present(order) }))
    .filter(({ row }) => type === null || row.instance_type === type)
    .filter(({ row }) => region === null || row.region === region)
    .filter(({ row }) => status === null || row.status === status)
  const page = pageOf({
    rows,
    sortValue: ({ order, row }) => (sort === 'status' ? row.status : timeOf(order)),
    id: ({ row }) => row.fid,
    direction,
    limit,
    cursor,
  })
  return { data: page.rows.map(({ row }) => row), next_cursor: page.next_cursor }
}
