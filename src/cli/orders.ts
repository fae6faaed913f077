/** What bids and reservations have alike: how many instances they ask for, and how they are shown around what only one of them has. */
import type { Command } from 'commander'
import { commonOptions } from './context.ts'
import { parseCount, usage } from './flags.ts'
import type { Column } from './output.ts'
import { print, printJson, table } from './output.ts'

const MAX_QUANTITY = 256

/** The field of a request for `--quantity`, or none without it. */
export function quantityOf(text: string | undefined): { readonly quantity?: number } {
  if (text === undefined) return {}
  const quantity = parseCount('--quantity', text)
  if (quantity < 1 || quantity > MAX_QUANTITY) throw usage(`--quantity takes 1 to ${MAX_QUANTITY}, not "${text}".`)
  return { quantity }
}

interface Order {
  readonly name: string
  readonly id: string
  readonly type: string
  readonly region: string
  readonly quantity: number
  readonly status: string
  readonly message: string | null
}

/** `green` is the status in which an order has its instances. */
export async function showOrders<T extends Order>(command: Command, items: readonly T[], { own, green }: { readonly own: readonly Column<T>[]; readonly green: T['status'] }): Promise<void> {
  if (commonOptions(command).json === true) return printJson(items)
  await print(
    table(items, [
      { title: 'NAME', text: ({ name }) => name },
      { title: 'ID', text: ({ id }) => id.slice(0, 8) },
      { title: 'TYPE', text: ({ type }) => type },
      { title: 'REGION', text: ({ region }) => region },
      { title: 'N', text: ({ quantity }) => String(quantity), align: 'right' },
      ...own,
      { title: 'STATUS', text: ({ status }) => status, colour: ({ status }) => (status === green ? 'green' : null) },
      { title: 'WHY', text: ({ message }) => message ?? '' },
    ]),
  )
}
