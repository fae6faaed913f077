/** A bid: how many, of what image, and the most that one pays. */
import { NumberInput, Text, TextInput } from '@mantine/core'
import { useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { call } from '../../api/http.ts'
import type { Supply } from '../../api/types.ts'
import { FormModal } from '../../components/form-modal.tsx'
import { formatMoney } from '../../components/money.ts'
import { tellDone } from '../../components/notice.tsx'

const MICROS_PER_CENT = 10_000

export function BidForm({ supply, onClose }: { readonly supply: Supply; readonly onClose: () => void }) {
  const { type, region, spotMicros, floorMicros } = supply
  const queries = useQueryClient()
  const [name, setName] = useState('')
  const [image, setImage] = useState('localhost/busybox')
  const [quantity, setQuantity] = useState<number | string>(1)
  const [cents, setCents] = useState<number | string>(Math.ceil(Math.max(spotMicros, floorMicros) / MICROS_PER_CENT))
  const submit = async () => {
    await call('POST', '/market/bids', { json: { name: name.trim(), type, region, image: image.trim(), pull: 'missing', quantity: Number(quantity), limitMicros: Number(cents) * MICROS_PER_CENT } })
    tellDone(`${name.trim()} competes`)
    await queries.invalidateQueries({ queryKey: ['market'] })
  }
  return (
    <FormModal title={`Bid for ${type} in ${region}`} action="Place the bid" disabled={name.trim() === '' || image.trim() === '' || Number(cents) <= 0} onClose={onClose} onSubmit={submit}>
      <Text size="sm" c="dimmed">
        The clearing price is {formatMoney(spotMicros)} an hour, the least that is taken {formatMoney(floorMicros)}. Who wins pays the highest limit that loses.
      </Text>
      <TextInput label="Name" value={name} onChange={event => setName(event.currentTarget.value)} data-autofocus spellCheck={false} />
      <TextInput label="Image" value={image} onChange={event => setImage(event.currentTarget.value)} spellCheck={false} />
      <NumberInput label="Instances" value={quantity} onChange={setQuantity} min={1} max={256} hideControls />
      <NumberInput label="At most, in cents an hour for each" value={cents} onChange={setCents} min={1} allowDecimal={false} hideControls />
    </FormModal>
  )
}
