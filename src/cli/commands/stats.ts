/** `berth stats`: what instances use now. */
import type { Command } from 'commander'
import type { StatsBody } from '../../dialects/native/schema/guest.ts'
import type { InstanceBody } from '../../dialects/native/schema/instances.ts'
import { formatFriendlySize } from '../../instance/sizes.ts'
import { part } from '../client.ts'
import { commonOptions, withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { print, printJson, table } from '../output.ts'

export function register(program: Command, context: Context): void {
  withServer(program.command('stats [instance...]').description('show what instances use now (all that run, if none is named)')).action(
    async (words: readonly string[], _options: unknown, command: Command) => {
      const client = context.connect(command)
      const instances =
        words.length === 0
          ? await client.list<InstanceBody>('/instances', { phase: 'running' })
          : await Promise.all(words.map((word) => client.call<InstanceBody>('GET', `/instances/${part(word)}`)))
      const rows = await Promise.all(
        instances.map(async ({ id, name }) => ({ id, name, stats: await client.call<StatsBody>('GET', `/instances/${part(id)}/stats`) })),
      )
      if (commonOptions(command).json === true) return printJson(rows.map(({ id, name, stats }) => ({ id, name, ...stats })))
      await print(
        table(rows, [
          { title: 'NAME', text: ({ name }) => name },
          { title: 'CPU', text: ({ stats }) => `${stats.cpuSeconds.toFixed(1)} s`, align: 'right' },
          { title: 'MEMORY', text: ({ stats }) => formatFriendlySize(stats.memoryRssBytes), align: 'right' },
          { title: 'IN GUEST', text: ({ stats }) => guestText(stats), align: 'right' },
          { title: 'NET IN', text: ({ stats }) => formatFriendlySize(stats.networkRxBytes), align: 'right' },
          { title: 'NET OUT', text: ({ stats }) => formatFriendlySize(stats.networkTxBytes), align: 'right' },
          { title: 'READ', text: ({ stats }) => formatFriendlySize(stats.diskReadBytes), align: 'right' },
          { title: 'WRITTEN', text: ({ stats }) => formatFriendlySize(stats.diskWriteBytes), align: 'right' },
        ]),
      )
    },
  )
}

function guestText({ guest }: StatsBody): string {
  if (guest === null) return '-'
  return `${formatFriendlySize(guest.memoryTotalBytes - guest.memoryAvailableBytes)} of ${formatFriendlySize(guest.memoryTotalBytes)}`
}
