/** How bids and reservations are shown: what they have alike, around what only one of them has. */
import type { Command } from 'commander'
import { commonOptions } from './context.ts'
import type { Column } from './output.ts'
import { print, printJson, table } from './output.ts'

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
