/** `berth snapshots ls | create | inspect | restore | fork | rm`, and `berth fork` */
import type { Command } from 'commander'
import type { InstanceBody } from '../../dialects/native/schema/instances.ts'
import type { SnapshotBody } from '../../dialects/native/schema/snapshots.ts'
import { FORK_TARGETS } from '../../instance/snapshot.ts'
import { formatFriendlySize } from '../../instance/sizes.ts'
import type { Client } from '../client.ts'
import { part } from '../client.ts'
import { addList, addRemove, IDS } from '../collection.ts'
import { commonOptions, withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { CliError, STATUS } from '../failure.ts'
import { parseKeyValues } from '../flags.ts'
import { shortId } from '../instance-text.ts'
import { age, print, printJson } from '../output.ts'
import type { Column } from '../output.ts'
import { collect } from './ps.ts'

/** How long a command waits for its work; the work goes on after it. */
const WAIT_MS = 10 * 60 * 1000

interface TargetOptions {
  readonly state?: string
  readonly wait: boolean
}

export function register(program: Command, context: Context): void {
  const finish = async (command: Command, answer: InstanceBody): Promise<void> => {
    if (commonOptions(command).json === true) return printJson(answer)
    await print(`${answer.name}\n`)
  }

  withTarget(withServer(program.command('fork <instance> <name>').description('make another instance that goes on from where this one is: its memory, its disks, another identity')))
    .action(async (instance: string, name: string, options: TargetOptions, command: Command) => {
      await finish(command, await context.connect(command).call<InstanceBody>('POST', `/instances/${part(instance)}/fork`, request(options, { name })))
    })

  const snapshots = program.command('snapshots').alias('snapshot').description('keep instances as they are, go back, and make new ones from them')

  addList<SnapshotBody>(snapshots, context, {
    path: '/snapshots',
    description: 'list snapshots',
    quiet: IDS,
    columns: COLUMNS,
    argument: { spelling: '[instance]', query: (instance) => ({ instance }) },
  })

  withServer(snapshots.command('create <instance>').description('keep an instance as it is now; one that runs stands still for a moment'))
    .option('-n, --name <name>', 'a name; unique among the snapshots of the instance')
    .option('--tag <key=value>', 'a label; may be given several times', collect)
    .action(async (instance: string, options: { name?: string; tag?: readonly string[] }, command: Command) => {
      const json = { tags: parseKeyValues('--tag', options.tag ?? []), ...(options.name === undefined ? {} : { name: options.name }) }
      const snapshot = await context.connect(command).call<SnapshotBody>('POST', `/instances/${part(instance)}/snapshots`, { json })
      if (commonOptions(command).json === true) return printJson(snapshot)
      await print(`${snapshot.id}\n`)
    })

  withServer(snapshots.command('inspect <snapshot...>').description('show everything about snapshots, as JSON')).action(
    async (words: readonly string[], _options: unknown, command: Command) => {
      const client = context.connect(command)
      await printJson(await Promise.all(words.map((word) => client.call<SnapshotBody>('GET', `/snapshots/${part(word)}`))))
    },
  )

  withTarget(withServer(snapshots.command('restore <instance> <snapshot>').description('let an instance that does not run become what it was; what it is now is lost')))
    .action(async (instance: string, snapshot: string, options: TargetOptions, command: Command) => {
      const client = context.connect(command)
      const { id } = await ofInstance(client, instance, snapshot)
      await finish(command, await client.call<InstanceBody>('POST', `/snapshots/${part(id)}/restore`, request(options, {})))
    })

  withTarget(withServer(snapshots.command('fork <snapshot> <name>').description('make an instance from a snapshot')))
    .action(async (snapshot: string, name: string, options: TargetOptions, command: Command) => {
      await finish(command, await context.connect(command).call<InstanceBody>('POST', `/snapshots/${part(snapshot)}/fork`, request(options, { name })))
    })

  addRemove(snapshots, context, { path: '/snapshots', argument: '<snapshot...>', description: 'delete snapshots' })
}

function withTarget(command: Command): Command {
  return command
    .option('--state <state>', `the state that it is to end in: ${FORK_TARGETS.join(', ')}`)
    .option('--no-wait', 'come back when the wish is recorded, not when the work is done')
}

function request({ state, wait }: TargetOptions, body: object) {
  const target = FORK_TARGETS.find((each) => each === state)
  if (state !== undefined && target === undefined) throw new CliError(`--state is one of ${FORK_TARGETS.join(', ')}, not "${state}".`, { status: STATUS.usage })
  return { json: { ...body, ...(target === undefined ? {} : { target }) }, ...(wait ? { query: { wait: true, timeoutMs: WAIT_MS } } : {}) }
}

/** A name means the instance's own snapshot; an id, whatever it is of: the server refuses another's. */
async function ofInstance(client: Client, instance: string, word: string): Promise<SnapshotBody> {
  const [named] = await client.list<SnapshotBody>('/snapshots', { instance, name: word })
  const snapshot = named ?? (await client.call<SnapshotBody>('GET', `/snapshots/${part(word)}`))
  const { id } = await client.call<InstanceBody>('GET', `/instances/${part(instance)}`)
  if (snapshot.instanceId === id) return snapshot
  throw new CliError(`The snapshot ${word} is of ${snapshot.instanceName}, not of ${instance}; make an instance from it with "berth snapshots fork ${word} NAME".`)
}

const COLUMNS: readonly Column<SnapshotBody>[] = [
  { title: 'ID', text: ({ id }) => shortId(id) },
  { title: 'NAME', text: ({ name }) => name ?? '-' },
  { title: 'INSTANCE', text: ({ instanceName }) => instanceName },
  { title: 'KIND', text: ({ kind }) => kind },
  { title: 'SIZE', text: ({ sizeBytes }) => formatFriendlySize(sizeBytes), align: 'right' },
  { title: 'AGE', text: ({ createdAt }) => age(createdAt), align: 'right' },
  { title: 'STATUS', text: ({ status }) => status },
]
