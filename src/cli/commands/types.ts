/** `berth types`: what instances can be made as, where, for how much, and how many more. */
import type { Command } from 'commander'
import type { CapacityBody } from '../../dialects/native/schema/capacity.ts'
import { formatFriendlySize } from '../../instance/sizes.ts'
import { commonOptions, withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { print, printJson, table } from '../output.ts'

const MICROS = 1_000_000

export function register(program: Command, context: Context): void {
  withServer(program.command('types').description('list types of instance by region, with price and what is free')).action(
    async (_options: unknown, command: Command) => {
      const { items } = await context.connect(command).call<{ items: CapacityBody[] }>('GET', '/capacity')
      if (commonOptions(command).json === true) return printJson(items)
      await print(
        table(items, [
          { title: 'TYPE', text: ({ type }) => type },
          { title: 'REGION', text: ({ region, simulated }) => (simulated ? `${region} (pretends)` : region) },
          { title: 'VCPUS', text: ({ vcpus }) => String(vcpus), align: 'right' },
          { title: 'MEMORY', text: ({ memoryBytes }) => formatFriendlySize(memoryBytes), align: 'right' },
          { title: 'DISK', text: ({ diskBytes }) => formatFriendlySize(diskBytes), align: 'right' },
          { title: 'GPU', text: ({ gpu }) => (gpu === null ? '-' : `${gpu.count}x ${gpu.model}`) },
          { title: '$/HOUR', text: ({ priceMicrosPerHour }) => (priceMicrosPerHour / MICROS).toFixed(4), align: 'right' },
          { title: 'USED', text: ({ used }) => String(used), align: 'right' },
          { title: 'FREE', text: ({ free }) => String(free), align: 'right' },
        ]),
      )
    },
  )
}
