/** `berth host`: the machine, what it has and who holds it. */
import type { Command } from 'commander'
import type { HostBody, ResourcesBody } from '../../dialects/native/schema/host.ts'
import { formatFriendlySize } from '../../instance/sizes.ts'
import { commonOptions, withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { print, printJson, printLines, table } from '../output.ts'

export function register(program: Command, context: Context): void {
  withServer(program.command('host').alias('info').description('show the machine, what it has and what is taken')).action(
    async (_options: unknown, command: Command) => {
      const client = context.connect(command)
      const [host, resources] = await Promise.all([
        client.call<HostBody>('GET', '/host'),
        client.call<ResourcesBody>('GET', '/resources'),
      ])
      if (commonOptions(command).json === true) return printJson({ host, resources })
      await printLines([
        `${host.hostId}: ${host.os} ${host.arch}, ${host.hypervisor} with ${host.accelerator} (${host.acceleratorReason})`,
        `network ${host.network.mode}${host.network.mode === 'none' ? '' : ` ${host.network.subnet}`}`,
        ...host.warnings,
        '',
      ])
      await print(
        table(resources.lines, [
          { title: 'RESOURCE', text: ({ kind }) => kind },
          { title: 'TAKEN', text: ({ kind, allocated }) => amount(kind, allocated), align: 'right' },
          { title: 'LIMIT', text: ({ kind, limit }) => limitOf(kind, limit), align: 'right' },
          { title: 'THERE IS', text: ({ kind, capacity }) => limitOf(kind, capacity), align: 'right' },
          { title: 'OVER-COMMIT', text: ({ overcommit }) => String(overcommit), align: 'right' },
        ]),
      )
    },
  )
}

/** A machine that does not say how fast its network is has no limit there. */
function limitOf(kind: string, value: number): string {
  return kind === 'network' && value === 0 ? '-' : amount(kind, value)
}

function amount(kind: string, value: number): string {
  if (kind === 'cpu') return String(value)
  return kind === 'network' ? `${formatFriendlySize(value)}/s` : formatFriendlySize(value)
}
