/** What the instance costs: an hour now, and all of it so far. */
import { useQuery } from '@tanstack/react-query'
import { call } from '../../api/http.ts'
import { isServing } from '../../api/lifecycle.ts'
import type { Instance, Usage } from '../../api/types.ts'
import { Facts } from '../../components/facts.tsx'
import { formatSpan, formatTime } from '../../components/format.ts'
import { Link } from '../../components/link.tsx'
import { formatMoney } from '../../components/money.ts'
import { Panel } from '../../components/page.tsx'
import { usePrice } from '../../components/prices.tsx'
import { ErrorState, LoadingRows } from '../../components/states.tsx'

/** While it runs the sum grows; nobody tells of that. */
const LOOK_EVERY_MS = 30_000
const PERIODS_SHOWN = 4

export function CostPanel({ instance }: { readonly instance: Instance }) {
  const { id, order } = instance
  const price = usePrice(instance)
  const usage = useQuery({
    queryKey: ['market', 'usage', id, instance.phase],
    queryFn: ({ signal }) => call<Usage>('GET', '/market/usage', { query: { instance: id }, signal }),
    staleTime: 0,
    refetchInterval: isServing(instance) ? LOOK_EVERY_MS : false,
    placeholderData: before => before,
  })
  if (usage.data === undefined) return <Panel title="Cost">{usage.error === null ? <LoadingRows rows={2} /> : <ErrorState error={usage.error} onRetry={() => void usage.refetch()} />}</Panel>
  const [line] = usage.data.items
  const periods = line?.periods ?? []
  return (
    <Panel title="Cost">
      <Facts
        facts={[
          ['An hour', price === null ? null : `${price.micros === 0 ? 'free: no type of the catalogue covers it' : formatMoney(price.micros)}, ${price.kind}${isServing(instance) || price.kind === 'reserved' ? '' : ', while it runs'}`],
          ['So far', <span key="sum" className="numeric">{`${formatMoney(line?.costMicros ?? 0)} for ${formatSpan(line?.paidMs ?? 0)}`}</span>],
          ['Credit', line === undefined || line.creditMicros === 0 ? null : formatMoney(line.creditMicros)],
          ['Belongs to', order === null ? null : <Link key="order" inText to="/ui/market/orders">{`a ${order.kind} of the market`}</Link>],
          ...periods.slice(-PERIODS_SHOWN).toReversed().map(({ startAt, kind, priceMicros, costMicros }) => [`Since ${formatTime(startAt)}`, `${kind} at ${formatMoney(priceMicros)}/h: ${formatMoney(costMicros)}`] as const),
        ]}
      />
    </Panel>
  )
}
