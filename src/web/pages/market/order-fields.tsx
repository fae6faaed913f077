/** Fields that every order has: its name, image and quantity; and money in whole cents. */
import { NumberInput, TextInput } from '@mantine/core'
import { useState } from 'react'

export const MICROS_PER_CENT = 10_000
const MAX_QUANTITY = 256

export interface OrderWish {
  readonly name: string
  readonly image: string
  readonly quantity: number
}

/** The wish, its fields, and whether it can be sent. */
export function useOrderWish() {
  const [wish, setWish] = useState<OrderWish>({ name: '', image: 'localhost/busybox', quantity: 1 })
  const isReady = wish.name.trim() !== '' && wish.image.trim() !== '' && wish.quantity >= 1
  return { wish, setWish, isReady }
}

export function OrderFields({ wish, onChange }: { readonly wish: OrderWish; readonly onChange: (wish: OrderWish) => void }) {
  return (
    <>
      <TextInput label="Name" description="Its instances are named after it." value={wish.name} onChange={event => onChange({ ...wish, name: event.currentTarget.value })} data-autofocus spellCheck={false} />
      <TextInput label="Image" value={wish.image} onChange={event => onChange({ ...wish, image: event.currentTarget.value })} spellCheck={false} />
      <NumberInput label="Instances" description="All of them, or none." value={wish.quantity} onChange={value => onChange({ ...wish, quantity: Number(value) })} min={1} max={MAX_QUANTITY} allowDecimal={false} hideControls />
    </>
  )
}

export function CentsField({ label, value, onChange }: { readonly label: string; readonly value: number | string; readonly onChange: (cents: number | string) => void }) {
  return <NumberInput label={label} value={value} onChange={onChange} min={1} allowDecimal={false} hideControls />
}
