/** `berth events`: what happens to instances, as it happens. */
import type { Command } from 'commander'
import type { EventBody } from '../../dialects/native/schema/events.ts'
import { commonOptions, withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { CliError, STATUS } from '../failure.ts'
import { shortId } from '../instance-text.ts'
import { paint, phaseColour, print, visible } from '../output.ts'

interface EventsOptions {
  readonly follow: boolean
  readonly after?: string
}

export function register(program: Command, context: Context): void {
  withServer(program.command('events [instance...]').description('watch events until Ctrl-C (of some instances, or of all)'))
    .option('--after <seq>', 'begin after this event; 0 is the first there is')
    .option('--no-follow', 'only those that were; the latest come last')
    .action(async (instances: readonly string[], options: EventsOptions, command: Command) => {
      const client = context.connect(command)
      const after = options.after
      if (after !== undefined && !/^\d+$/.test(after)) throw new CliError(`"${after}" is no number of an event.`, { status: STATUS.usage })
      const query = { instance: instances, ...(after === undefined ? {} : { after }) }
      const show = commonOptions(command).json === true ? (event: EventBody) => `${JSON.stringify(event)}\n` : eventText
      if (!options.follow) {
        for (const event of await client.list<EventBody>('/events', query)) await print(show(event))
        return
      }
      for await (const event of client.records<EventBody>('/events/watch', { query })) await print(show(event))
    })
}

function eventText({ seq, at, instanceId, kind, from, to, reason }: EventBody): string {
  const step = kind === 'note' ? paint('dim', 'note') : `${from === null ? '' : `${from} -> `}${paint(phaseColour(to), to)}`
  return `${paint('dim', `${at} ${String(seq).padStart(5)}`)}  ${shortId(instanceId)}  ${step}${reason === null ? '' : `  ${visible(reason)}`}\n`
}
