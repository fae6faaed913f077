/** `berth market`, `berth bids` and `berth usage`: what is to be had, what is bid for, and what instances cost. */
import type { Command } from 'commander'
import type { BidBody, InstanceCostBody, SupplyBody, UsageBody } from '../../dialects/native/schema/market.ts'
import { part } from '../client.ts'
import { commonOptions, withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { CliError, STATUS } from '../failure.ts'
import { quantityOf, showOrders } from '../orders.ts'
import { print, printJson, table } from '../output.ts'
import type { Column } from '../output.ts'

const MICROS = 1_000_000
const CENTS = 100
const HOUR_MS = 3_600_000

type Usage = Omit<UsageBody, 'items'> & { readonly items: readonly InstanceCostBody[] }

export function register(program: Command, context: Context): void {
  registerSupply(program, context)
  registerUsage(program, context)
  const bids = withServer(program.command('bids').description('list bids, or place, change, pause, resume and end them'))
    .option('-a, --all', 'also those that are over')
    .action(async (options: { readonly all?: boolean }, command: Command) => {
      const query = { limit: 1000, ...(options.all === true ? { all: true } : {}) }
      const { items } = await context.connect(command).call<{ items: BidBody[] }>('GET', '/market/bids', { query })
      await show(command, items)
    })
  registerPlace(bids, context)
  const change = (name: string, description: string, body: object) =>
    withServer(bids.command(`${name} <bid>`).description(description)).action(async (bid: string, _options: unknown, command: Command) => {
      await show(command, [await context.connect(command).call<BidBody>('PATCH', pathOf(bid), { json: body })])
    })
  change('pause', 'stop its instances and keep their disks', { paused: true })
  change('resume', 'let it compete again', { paused: false })
  withServer(bids.command('change <bid>').description('offer more, or less'))
    .requiredOption('--limit <dollars>', 'the most that one instance pays for an hour, like 0.05')
    .action(async (bid: string, options: { readonly limit: string }, command: Command) => {
      await show(command, [await context.connect(command).call<BidBody>('PATCH', pathOf(bid), { json: { limitMicros: parseDollars(options.limit) } })])
    })
  withServer(bids.command('end <bid>').description('end it and delete its instances')).action(async (bid: string, _options: unknown, command: Command) => {
    await show(command, [await context.connect(command).call<BidBody>('DELETE', pathOf(bid))])
  })
}

function registerSupply(program: Command, context: Context): void {
  withServer(program.command('market').description('what bids can get, by type and region, and for how much')).action(async (_options: unknown, command: Command) => {
    const { items } = await context.connect(command).call<{ items: SupplyBody[] }>('GET', '/market/supply')
    if (commonOptions(command).json === true) return printJson(items)
    await print(
      table(items, [
        { title: 'TYPE', text: ({ type }) => type },
        { title: 'REGION', text: ({ region }) => region },
        { title: 'FREE', text: ({ available }) => String(available), align: 'right' },
        { title: 'BIDS HAVE', text: ({ allocated }) => String(allocated), align: 'right' },
        { title: 'RESERVED', text: ({ reserved }) => String(reserved), align: 'right' },
        { title: 'SPOT $/H', text: ({ spotMicros }) => dollars(spotMicros), align: 'right' },
        { title: 'FLOOR $/H', text: ({ floorMicros }) => dollars(floorMicros), align: 'right' },
        { title: 'ON DEMAND $/H', text: ({ onDemandMicros }) => (onDemandMicros / MICROS).toFixed(4), align: 'right' },
      ]),
    )
  })
}

function registerUsage(program: Command, context: Context): void {
  withServer(program.command('usage [instance]').description('what instances cost (one, or all), from the beginning until now')).action(
    async (instance: string | undefined, _options: unknown, command: Command) => {
      const usage = await context.connect(command).call<Usage>('GET', '/market/usage', instance === undefined ? {} : { query: { instance } })
      if (commonOptions(command).json === true) return printJson(usage)
      const { costMicros, creditMicros, netMicros } = usage
      const total: InstanceCostBody = { name: 'total', instanceId: '', periods: [], costMicros, creditMicros, netMicros, paidMs: usage.items.reduce((sum, { paidMs }) => sum + paidMs, 0) }
      await print(
        table([...usage.items, total], [
          { title: 'INSTANCE', text: ({ name, instanceId }) => name ?? instanceId },
          { title: 'HOURS', text: ({ paidMs }) => (paidMs / HOUR_MS).toFixed(2), align: 'right' },
          { title: 'COST $', text: ({ costMicros }) => (costMicros / MICROS).toFixed(4), align: 'right' },
          { title: 'CREDIT $', text: ({ creditMicros }) => (creditMicros / MICROS).toFixed(4), align: 'right' },
          { title: 'NET $', text: ({ netMicros }) => (netMicros / MICROS).toFixed(4), align: 'right' },
        ]),
      )
    },
  )
}

interface PlaceOptions {
  readonly type: string
  readonly limit: string
  readonly region?: string
  readonly quantity?: string
  readonly sshKey?: readonly string[]
}

function registerPlace(bids: Command, context: Context): void {
  withServer(bids.command('place <name> <image> [command...]').description('bid for instances of an image'))
    .requiredOption('--type <type>', 'type of instance (see berth market)')
    .requiredOption('--limit <dollars>', 'the most that one instance pays for an hour, like 0.05')
    .option('--region <region>', 'region; default this machine')
    .option('--quantity <n>', 'instances; all or none')
    .option('--ssh-key <name...>', 'SSH keys of the project, or public keys')
    .action(async (name: string, image: string, cmd: readonly string[], options: PlaceOptions, command: Command) => {
      const { type, limit, region, quantity, sshKey } = options
      const body = {
        name,
        image,
        pull: 'missing',
        type,
        limitMicros: parseDollars(limit),
        ...(cmd.length === 0 ? {} : { cmd }),
        ...(region === undefined ? {} : { region }),
        ...quantityOf(quantity),
        ...(sshKey === undefined ? {} : { sshKeys: sshKey }),
      }
      await show(command, [await context.connect(command).call<BidBody>('POST', '/market/bids', { json: body })])
    })
}

const OWN: readonly Column<BidBody>[] = [
  { title: 'LIMIT $/H', text: ({ limitMicros }) => dollars(limitMicros), align: 'right' },
  { title: 'PAYS $/H', text: ({ spotMicros }) => dollars(spotMicros), align: 'right' },
]

async function show(command: Command, items: readonly BidBody[]): Promise<void> {
  await showOrders(command, items, { own: OWN, green: 'allocated' })
}

function pathOf(bid: string): string {
  return `/market/bids/${part(bid)}`
}

function dollars(micros: number): string {
  return (micros / MICROS).toFixed(2)
}

/** `$0.05` or `0.05`, in whole cents. */
function parseDollars(text: string): number {
  const plain = text.replace(/^\$/, '')
  if (!/^\d{1,6}(\.\d{1,2})?$/.test(plain)) throw new CliError(`--limit "${text}" is not a price: write dollars and whole cents, like 0.05.`, { status: STATUS.usage })
  return Math.round(Number(plain) * CENTS) * (MICROS / CENTS)
}
