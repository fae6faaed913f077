/** A reservation: from when until when, how many, and what that costs. And how its end is moved. */
import { SimpleGrid, Text, TextInput } from '@mantine/core'
import { useDebouncedValue } from '@mantine/hooks'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { call, part } from '../../api/http.ts'
import type { Extension, Quote, Reservation, Supply } from '../../api/types.ts'
import { FormModal } from '../../components/form-modal.tsx'
import { formatTime } from '../../components/format.ts'
import { localText, timeOf } from '../../components/local-time.ts'
import { formatMoney } from '../../components/money.ts'
import { tellDone } from '../../components/notice.tsx'
import { sentenceOf } from '../../components/sentence.ts'
import { OrderFields, useOrderWish } from './order-fields.tsx'

const HOUR_MS = 3_600_000
/** Where the end stands at first. */
const FIRST_HOURS = 24
const TYPING_MS = 300

export function ReservationForm({ supply: { type, region }, onClose }: { readonly supply: Supply; readonly onClose: () => void }) {
  const queries = useQueryClient()
  const { wish, setWish, isReady } = useOrderWish()
  const [start, setStart] = useState('')
  const [end, setEnd] = useState(() => localText(new Date(Date.now() + FIRST_HOURS * HOUR_MS)))
  const span = { ...(start === '' ? {} : { startAt: timeOf(start) }), endAt: timeOf(end) }
  const [asked] = useDebouncedValue(JSON.stringify({ type, region, quantity: wish.quantity, ...span }), TYPING_MS)
  const quote = useQuery({
    queryKey: ['market', 'quote', asked],
    queryFn: ({ signal }) => call<Quote>('GET', '/market/quote', { query: JSON.parse(asked) as Record<string, string>, signal }),
    enabled: end !== '' && wish.quantity >= 1,
    placeholderData: before => before,
    staleTime: 0,
  })
  const submit = async () => {
    const name = wish.name.trim()
    const made = await call<Reservation>('POST', '/market/reservations', { json: { ...wish, name, image: wish.image.trim(), type, region, pull: 'missing', ...span } })
    tellDone(`${name} is reserved until ${formatTime(made.endAt)}`)
    await queries.invalidateQueries({ queryKey: ['market'] })
  }
  return (
    <FormModal title={`Reserve ${type} in ${region}`} action="Reserve" disabled={!isReady || end === '' || quote.data?.isAvailable !== true} onClose={onClose} onSubmit={submit}>
      <OrderFields wish={wish} onChange={setWish} />
      <SimpleGrid cols={{ base: 1, xs: 2 }} spacing="sm">
        <TimeField label="From" description="Empty: now." value={start} onChange={setStart} />
        <TimeField label="To" description="Its instances are deleted then." value={end} onChange={setEnd} />
      </SimpleGrid>
      <QuoteText quote={quote.data} error={quote.error} />
    </FormModal>
  )
}

function QuoteText({ quote, error }: { readonly quote: Quote | undefined; readonly error: unknown }) {
  const words = () => {
    if (error !== null) return sentenceOf(error)
    if (quote === undefined) return ''
    const { isAvailable, unitMicros, totalMicros, pauseBuybackMicros, returnBuybackMicros } = quote
    if (!isAvailable) return 'There is no room for so many from its start to its end.'
    return `${formatMoney(totalMicros)} in all, ${formatMoney(unitMicros)} an hour for each, charged in full. An hour that is paused brings ${formatMoney(pauseBuybackMicros)} back, one that is given back ${formatMoney(returnBuybackMicros)}.`
  }
  return (
    <Text size="sm" role="status" mih={40}>
      {words()}
    </Text>
  )
}

export function ExtendForm({ reservation: { id, name, endAt }, onClose }: { readonly reservation: Reservation; readonly onClose: () => void }) {
  const queries = useQueryClient()
  const [end, setEnd] = useState(() => localText(new Date(Date.parse(endAt) + FIRST_HOURS * HOUR_MS)))
  const latest = useQuery({ queryKey: ['market', 'extension', id], queryFn: ({ signal }) => call<Extension>('GET', `/market/reservations/${part(id)}/extension`, { signal }), staleTime: 0 })
  const submit = async () => {
    await call('PATCH', `/market/reservations/${part(id)}`, { json: { endAt: timeOf(end) } })
    tellDone(`${name} lasts longer`)
    await queries.invalidateQueries({ queryKey: ['market'] })
  }
  return (
    <FormModal title={`Extend ${name}`} action="Extend" disabled={end === ''} onClose={onClose} onSubmit={submit}>
      <Text size="sm" c="dimmed" role="status">
        It ends {formatTime(endAt)}
        {latest.data === undefined ? '.' : Date.parse(latest.data.latestEndAt) <= Date.parse(endAt) ? ', and there is no room to extend it.' : `, and there is room until ${formatTime(latest.data.latestEndAt)}.`}
      </Text>
      <TimeField label="New end" value={end} onChange={setEnd} />
    </FormModal>
  )
}

function TimeField({ label, description, value, onChange }: { readonly label: string; readonly description?: string; readonly value: string; readonly onChange: (text: string) => void }) {
  return <TextInput type="datetime-local" label={label} description={description} value={value} onChange={event => onChange(event.currentTarget.value)} />
}
