/** `berth inspect`: everything about instances, as JSON or as a timeline. */
import type { Command } from 'commander'
import type { InstanceDetailBody } from '../../dialects/native/schema/instances.ts'
import { part } from '../client.ts'
import { withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { phaseColour, print, printJson, table } from '../output.ts'

export function register(program: Command, context: Context): void {
  withServer(program.command('inspect <instance...>').description('show everything about instances, as JSON'))
    .option('--timeline', 'the phases it went through and how long each took, as a table')
    .action(async (instances: readonly string[], options: { timeline?: boolean }, command: Command) => {
      const client = context.connect(command)
      const found: InstanceDetailBody[] = []
      for (const instance of instances) found.push(await client.call('GET', `/instances/${part(instance)}`))
      if (options.timeline !== true) return printJson(found)
      for (const detail of found) await print(timelineText(detail))
    })
}

/** The phases of an instance with the milliseconds of each, as a table. */
export function timelineText({ timeline }: InstanceDetailBody): string {
  const steps = timeline.filter(({ kind }) => kind === 'phase')
  const rows = steps.map((step, at) => {
    const next = steps[at + 1]
    return { ...step, ms: next === undefined ? null : Date.parse(next.at) - Date.parse(step.at) }
  })
  return table(rows, [
    { title: 'AT', text: ({ at }) => at },
    { title: 'PHASE', text: ({ to }) => to, colour: ({ to }) => phaseColour(to) },
    { title: 'MS', text: ({ ms }) => (ms === null ? '' : String(ms)), align: 'right' },
    { title: 'REASON', text: ({ reason }) => reason ?? '' },
  ])
}
