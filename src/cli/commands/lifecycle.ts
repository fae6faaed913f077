/** `berth stop | start | restart | standby | restore | rm`: one verb for one or more instances. */
import type { Command } from 'commander'
import type { InstanceBody } from '../../dialects/native/schema/instances.ts'
import { part } from '../client.ts'
import type { Client, Query } from '../client.ts'
import { commonOptions, withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { CliError, isApiError, STATUS } from '../failure.ts'
import { print, printJson, say } from '../output.ts'

/** How long a verb waits for its work; the work goes on after it. */
const WAIT_MS = 10 * 60 * 1000

interface VerbOptions {
  readonly wait: boolean
  readonly time?: string
  readonly force?: boolean
  readonly fromStandby?: boolean
}

interface Verb {
  readonly name: string
  readonly help: string
  readonly options?: (command: Command) => Command
  readonly act: (client: Client, instance: string, options: VerbOptions) => Promise<InstanceBody>
}

const VERBS: readonly Verb[] = [
  {
    name: 'stop',
    help: 'stop instances: SIGTERM, grace, SIGKILL; the disks stay',
    options: (command) =>
      command
        .option('-t, --time <seconds>', 'grace between SIGTERM and SIGKILL')
        .option('--from-standby', 'also from standby, which drops the saved state'),
    act: (client, instance, options) =>
      client.call('POST', `/instances/${part(instance)}/stop`, {
        query: waitQuery(options),
        json: {
          ...(options.time === undefined ? {} : { graceMs: graceMs(options.time) }),
          ...(options.fromStandby === true ? { fromStandby: true } : {}),
        },
      }),
  },
  { name: 'start', help: 'start stopped instances', act: verbOf('start') },
  { name: 'restart', help: 'stop instances and start them again', act: verbOf('restart') },
  { name: 'standby', help: 'put running instances to sleep: memory is saved, processes continue after restore', act: verbOf('standby') },
  { name: 'restore', help: 'wake instances from standby', act: verbOf('restore') },
  {
    name: 'rm',
    help: 'delete instances, running ones too with -f',
    options: (command) => command.option('-f, --force', 'also if it runs; and none that is not there is no failure'),
    act: remove,
  },
]

export function register(program: Command, context: Context): void {
  for (const verb of VERBS) {
    const command = withServer(program.command(`${verb.name} <instance...>`).description(verb.help))
    verb.options?.(command)
    command.option('--no-wait', 'come back when the wish is recorded, not when the work is done')
    command.action(async (instances: readonly string[], options: VerbOptions, self: Command) => {
      await forEach(instances, commonOptions(self).json === true, context, (instance) => verb.act(context.connect(self), instance, options))
    })
  }
}

/** One after the other; a failure is told and the others go on. */
async function forEach(
  instances: readonly string[],
  json: boolean,
  context: Context,
  act: (instance: string) => Promise<InstanceBody>,
): Promise<void> {
  const done: InstanceBody[] = []
  for (const instance of instances) {
    try {
      done.push(await act(instance))
      if (!json) await print(`${instance}\n`)
    } catch (error) {
      if (!(error instanceof CliError) || instances.length === 1) throw error
      say(`berth: ${instance}: ${error.message}`)
      context.setStatus(STATUS.failure)
    }
  }
  if (json) await printJson(done)
}

function verbOf(verb: string): Verb['act'] {
  return (client, instance, options) => client.call('POST', `/instances/${part(instance)}/${verb}`, { query: waitQuery(options) })
}

async function remove(client: Client, instance: string, options: VerbOptions): Promise<InstanceBody> {
  const path = `/instances/${part(instance)}`
  try {
    const found = await client.call<InstanceBody>('GET', path)
    const isActive = !['stopped', 'failed', 'preempted', 'standby', 'deleting', 'deleted'].includes(found.phase)
    if (isActive && options.force !== true) {
      throw new CliError(`${found.name} is ${found.phase}: stop it first, or delete it with "berth rm -f ${found.name}".`)
    }
    return await client.call<InstanceBody>('DELETE', `/instances/${part(found.id)}`, { query: waitQuery(options) })
  } catch (error) {
    if (options.force === true && isApiError(error, 'not_found')) return { id: instance, phase: 'deleted' } as InstanceBody
    throw error
  }
}

function waitQuery({ wait }: VerbOptions): Query {
  return wait ? { wait: true, timeoutMs: WAIT_MS } : {}
}

function graceMs(text: string): number {
  const seconds = Number(text)
  if (!/^\d+(\.\d+)?$/.test(text)) throw new CliError(`"${text}" is no number of seconds.`, { status: STATUS.usage })
  return Math.round(seconds * 1000)
}
