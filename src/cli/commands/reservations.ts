/** `berth reservation ls | quote | place | pause | resume | extend | return | cancel | usage` */
import type { Command } from 'commander'
import type { QuoteBody, ReservationBody } from '../../dialects/native/schema/market.ts'
import { part } from '../client.ts'
import { commonOptions, withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { parseTtlMs, usage } from '../flags.ts'
import { quantityOf, showOrders } from '../orders.ts'
import { print, printJson, printLines } from '../output.ts'
import type { Column } from '../output.ts'

const MICROS = 1_000_000
const HOUR_MS = 3_600_000

interface SpanOptions {
  readonly start?: string
  readonly end?: string
  readonly for?: string
}
interface WishOptions extends SpanOptions {
  readonly type: string
  readonly region?: string
  readonly quantity?: string
}
interface Account {
  readonly committedMicros: number
  readonly pauseCreditMicros: number
  readonly returnCreditMicros: number
  readonly netMicros: number
  readonly activeMs: number
  readonly idleMs: number
}

export function register(program: Command, context: Context): void {
  const all = program.command('reservation').alias('reservations').description('list reservations, or quote, place, pause, extend and cancel them')

  withServer(all.command('ls', { isDefault: true }).alias('list').description('list reservations'))
    .option('-a, --all', 'also those that are over')
    .action(async (options: { readonly all?: boolean }, command: Command) => {
      const query = { limit: 1000, ...(options.all === true ? { all: true } : {}) }
      const { items } = await context.connect(command).call<{ items: ReservationBody[] }>('GET', '/market/reservations', { query })
      await show(command, items)
    })

  withWish(withServer(all.command('quote').description('what a reservation would cost, and whether there is room'))).action(async (options: WishOptions, command: Command) => {
    const quote = await context.connect(command).call<QuoteBody>('GET', '/market/quote', { query: wishOf(options) })
    if (commonOptions(command).json === true) return printJson(quote)
    const { isAvailable, unitMicros, totalMicros, pauseBuybackMicros, returnBuybackMicros } = quote
    await printLines([
      isAvailable ? 'There is room for it.' : 'There is no room for it.',
      `$${dollars(unitMicros)} an hour for each, $${dollars(totalMicros)} in all.`,
      `An hour that is paused brings $${dollars(pauseBuybackMicros)} back, one that is given back $${dollars(returnBuybackMicros)}.`,
    ])
  })

  withWish(withServer(all.command('place <name> <image> [command...]').description('reserve instances of an image, from a start to an end')))
    .option('--ssh-key <name...>', 'SSH keys of the project, or public keys')
    .action(async (name: string, image: string, cmd: readonly string[], options: WishOptions & { readonly sshKey?: readonly string[] }, command: Command) => {
      const { sshKey } = options
      const json = { name, image, pull: 'missing', ...wishOf(options), ...(cmd.length === 0 ? {} : { cmd }), ...(sshKey === undefined ? {} : { sshKeys: sshKey }) }
      await show(command, [await context.connect(command).call<ReservationBody>('POST', '/market/reservations', { json })])
    })

  const change = (verb: string, description: string, method: 'PATCH' | 'DELETE', json?: object) =>
    withServer(all.command(`${verb} <reservation>`).description(description)).action(async (word: string, _options: unknown, command: Command) => {
      await show(command, [await context.connect(command).call<ReservationBody>(method, pathOf(word), json === undefined ? {} : { json })])
    })
  change('pause', 'stop its instances; its room stays its own', 'PATCH', { paused: true })
  change('resume', 'start them again', 'PATCH', { paused: false })
  change('cancel', 'cancel one that has not begun', 'DELETE')

  withServer(all.command('extend <reservation>').description('move its end; without a new end, tell how far it can be moved'))
    .option('--end <time>', 'the new end, like 2026-12-01T12:00:00Z')
    .action(async (word: string, options: { readonly end?: string }, command: Command) => {
      const client = context.connect(command)
      if (options.end !== undefined) return show(command, [await client.call<ReservationBody>('PATCH', pathOf(word), { json: { endAt: options.end } })])
      const latest = await client.call<{ latestEndAt: string }>('GET', `${pathOf(word)}/extension`)
      if (commonOptions(command).json === true) return printJson(latest)
      await print(`${latest.latestEndAt}\n`)
    })

  withServer(all.command('return <reservation> <instance...>').description('give paused instances back for good, for a part of their price')).action(
    async (word: string, instances: readonly string[], _options: unknown, command: Command) => {
      const { instanceIds } = await context.connect(command).call<{ instanceIds: string[] }>('POST', `${pathOf(word)}/return`, { json: { instances } })
      if (commonOptions(command).json === true) return printJson(instanceIds)
      await printLines(instanceIds)
    },
  )

  withServer(all.command('usage <reservation>').description('its account: charged in full, less what comes back')).action(async (word: string, _options: unknown, command: Command) => {
    const account = await context.connect(command).call<Account>('GET', `${pathOf(word)}/usage`)
    if (commonOptions(command).json === true) return printJson(account)
    const { committedMicros, pauseCreditMicros, returnCreditMicros, netMicros, activeMs, idleMs } = account
    await printLines([
      `charged $${dollars(committedMicros)}, back $${dollars(pauseCreditMicros)} for pauses and $${dollars(returnCreditMicros)} for returns: $${dollars(netMicros)}`,
      `${hours(activeMs)} h of instances used, ${hours(idleMs)} h paused`,
    ])
  })
}

function withWish(command: Command): Command {
  return command
    .requiredOption('--type <type>', 'type of instance (see berth market)')
    .option('--region <region>', 'region; default this machine')
    .option('--quantity <n>', 'instances; all or none')
    .option('--start <time>', 'like 2026-12-01T12:00:00Z; default now')
    .option('--end <time>', 'like 2026-12-01T18:00:00Z')
    .option('--for <duration>', 'instead of --end, like 6h or 7d')
}

function wishOf(options: WishOptions): Record<string, string | number> {
  const { type, region, quantity } = options
  return { type, ...(region === undefined ? {} : { region }), ...quantityOf(quantity), ...spanOf(options) }
}

function spanOf({ start, end, for: span }: SpanOptions): Record<string, string> {
  if ((end === undefined) === (span === undefined)) throw usage('Say when it ends: --end TIME, or --for DURATION.')
  const begin = start === undefined ? {} : { startAt: start }
  if (end !== undefined) return { ...begin, endAt: end }
  const from = start === undefined ? Date.now() : Date.parse(start)
  if (Number.isNaN(from)) throw usage(`--start "${start}" is not a time: write it like 2026-12-01T12:00:00Z.`)
  return { ...begin, endAt: new Date(from + parseTtlMs(span ?? '', '--for')).toISOString() }
}

const OWN: readonly Column<ReservationBody>[] = [
  { title: 'START', text: ({ startAt }) => minute(startAt) },
  { title: 'END', text: ({ endAt }) => minute(endAt) },
  { title: '$/H', text: ({ unitMicros }) => dollars(unitMicros), align: 'right' },
  { title: 'TOTAL $', text: ({ totalMicros }) => dollars(totalMicros), align: 'right' },
]

async function show(command: Command, items: readonly ReservationBody[]): Promise<void> {
  await showOrders(command, items, { own: OWN, green: 'active' })
}

function pathOf(word: string): string {
  return `/market/reservations/${part(word)}`
}

function dollars(micros: number): string {
  return (micros / MICROS).toFixed(4)
}

function hours(ms: number): string {
  return (ms / HOUR_MS).toFixed(2)
}

/** `2026-12-01T12:00Z` */
function minute(time: string): string {
  return `${time.slice(0, 16)}Z`
}
