/** `berth ps`: the instances of the project. */
import type { Command } from 'commander'
import type { InstanceBody } from '../../dialects/native/schema/instances.ts'
import { commonOptions, withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { CliError, STATUS } from '../failure.ts'
import { age, phaseColour, print, printJson, printLines, table } from '../output.ts'
import { shortId } from '../instance-text.ts'

/** Phases that `ps` leaves out unless asked for all. */
const AT_REST: ReadonlySet<string> = new Set(['stopped', 'failed', 'preempted'])

interface PsOptions {
  readonly all?: boolean
  readonly quiet?: boolean
  readonly trunc: boolean
  readonly filter?: readonly string[]
}

export function register(program: Command, context: Context): void {
  withServer(program.command('ps').alias('ls').description('list instances'))
    .option('-a, --all', 'also those that are stopped or have failed')
    .option('-q, --quiet', 'ids only')
    .option('--no-trunc', 'whole ids')
    .option('-f, --filter <key=value>', 'phase=, name= or tag=KEY=VALUE; may be given several times', collect)
    .action(async (options: PsOptions, command: Command) => {
      const query = filterQuery(options.filter ?? [])
      const all = await context.connect(command).list<InstanceBody>('/instances', query)
      const isAll = options.all === true || query['phase'] !== undefined
      const shown = isAll ? all : all.filter(({ phase }) => !AT_REST.has(phase))
      if (commonOptions(command).json === true) return printJson(shown)
      if (options.quiet === true) return printLines(shown.map(({ id }) => (options.trunc ? shortId(id) : id)))
      await print(
        table(shown, [
          { title: 'ID', text: ({ id }) => (options.trunc ? shortId(id) : id) },
          { title: 'NAME', text: ({ name }) => name },
          { title: 'IMAGE', text: ({ image }) => image },
          { title: 'PHASE', text: phaseText, colour: ({ phase }) => phaseColour(phase) },
          { title: 'AGE', text: ({ createdAt }) => age(createdAt), align: 'right' },
          { title: 'IP', text: ({ network }) => network.ip ?? '-' },
          { title: 'PORTS', text: portsText },
        ]),
      )
    })
}

/** For options that may be given several times. */
export function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value]
}

function phaseText({ phase, exit, phaseSince, health }: InstanceBody): string {
  const how = AT_REST.has(phase) ? (exit === null ? '' : ` (${exit.code})`) : phase === 'running' && health !== null ? ` (${health.status})` : ''
  return `${phase}${how} ${age(phaseSince)}`
}

function portsText({ network }: InstanceBody): string {
  return network.ports.map(({ hostPort, guestPort, protocol }) => `${hostPort}->${guestPort}/${protocol}`).join(', ')
}

function filterQuery(filters: readonly string[]): Record<string, string | readonly string[]> {
  const phases: string[] = []
  const tags: string[] = []
  let name: string | null = null
  for (const filter of filters) {
    const [, key = '', value = ''] = /^([^=]+)=(.*)$/s.exec(filter) ?? []
    if (key === 'phase') phases.push(value)
    else if (key === 'name') name = value
    else if (key === 'tag') tags.push(value)
    else throw new CliError(`"${filter}" is no filter: write phase=running, name=web or tag=team=blue.`, { status: STATUS.usage })
  }
  return {
    ...(phases.length === 0 ? {} : { phase: phases }),
    ...(tags.length === 0 ? {} : { tag: tags }),
    ...(name === null ? {} : { name }),
  }
}
