/** A bid: how many, of what image, and the most that one pays; and the change of that most. */
import { Text } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { call, part } from '../../api/http.ts'
import type { Bid, PriceToWin, Supply } from '../../api/types.ts'
import { FormModal } from '../../components/form-modal.tsx'
import { formatMoney } from '../../components/money.ts'
import { tellDone } from '../../components/notice.tsx'
import { CentsField, MICROS_PER_CENT, OrderFields, useOrderWish } from './order-fields.tsx'

export function BidForm({ supply, onClose }: { readonly supply: Supply; readonly onClose: () => void }) {
  const { type, region, spotMicros, floorMicros } = supply
  const queries = useQueryClient()
  const { wish, setWish, isReady } = useOrderWish()
  const [cents, setCents] = useState<number | string>(Math.ceil(Math.max(spotMicros, floorMicros) / MICROS_PER_CENT))
  const name = wish.name.trim()
  const submit = async () => {
    const json = { ...wish, name, image: wish.image.trim(), type, region, pull: 'missing', limitMicros: Number(cents) * MICROS_PER_CENT }
    const bid = await call<Bid>('POST', '/market/bids', { json })
    tellDone(bid.status === 'allocated' ? `${name} has its capacity` : `${name} competes`)
    await queries.invalidateQueries({ queryKey: ['market'] })
  }
  return (
    <FormModal title={`Bid for ${type} in ${region}`} action="Place the bid" disabled={!isReady || Number(cents) <= 0} onClose={onClose} onSubmit={submit}>
      <Text size="sm" c="dimmed">
        The clearing price is {formatMoney(spotMicros)} an hour, the least that is taken {formatMoney(floorMicros)}. Who wins pays the highest limit that loses.
      </Text>
      <OrderFields wish={wish} onChange={setWish} />
      <CentsField label="At most, in cents an hour for each" value={cents} onChange={setCents} />
      <WinHint type={type} region={region} quantity={wish.quantity} />
    </FormModal>
  )
}

export function LimitForm({ bid, onClose }: { readonly bid: Bid; readonly onClose: () => void }) {
  const queries = useQueryClient()
  const [cents, setCents] = useState<number | string>(Math.round(bid.limitMicros / MICROS_PER_CENT))
  const submit = async () => {
    await call('PATCH', `/market/bids/${part(bid.id)}`, { json: { limitMicros: Number(cents) * MICROS_PER_CENT } })
    tellDone(`${bid.name} offers ${formatMoney(Number(cents) * MICROS_PER_CENT)}`)
    await queries.invalidateQueries({ queryKey: ['market'] })
  }
  return (
    <FormModal title={`Change the limit of ${bid.name}`} action="Change" disabled={Number(cents) <= 0} onClose={onClose} onSubmit={submit}>
      <Text size="sm" c="dimmed">
        It pays {formatMoney(bid.spotMicros)} an hour for each now. A new limit does not make it younger.
      </Text>
      <CentsField label="At most, in cents an hour for each" value={cents} onChange={setCents} />
      <WinHint type={bid.type} region={bid.region} quantity={bid.quantity} />
    </FormModal>
  )
}

/** The least that would win now. */
function WinHint({ type, region, quantity }: { readonly type: string; readonly region: string; readonly quantity: number }) {
  const { data } = useQuery({
    queryKey: ['market', 'win', type, region, quantity],
    queryFn: ({ signal }) => call<PriceToWin>('GET', '/market/price-to-win', { query: { type, region, quantity }, signal }),
    enabled: quantity >= 1,
    placeholderData: before => before,
    staleTime: 0,
  })
  return (
    <Text size="xs" c="dimmed" role="status" mih={18}>
      {data === undefined ? '' : data.limitMicros === null ? 'No limit wins so many now; a bid waits until there is room.' : `${formatMoney(data.limitMicros)} would win now.`}
    </Text>
  )
}
