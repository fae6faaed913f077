/** `berth volumes ls | create | inspect | attach | detach | rm` */
import { createReadStream } from 'node:fs'
import type { Command } from 'commander'
import type { VolumeBody } from '../../dialects/native/schema/volumes.ts'
import { formatFriendlySize } from '../../instance/sizes.ts'
import { part } from '../client.ts'
import { addList, addRemove, IDS } from '../collection.ts'
import { commonOptions, withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { parseKeyValues, parseSize, parseVolume } from '../flags.ts'
import { shortId } from '../instance-text.ts'
import { age, print, printJson } from '../output.ts'
import type { Column } from '../output.ts'
import { collect } from './ps.ts'

interface CreateOptions {
  readonly size: string
  readonly id?: string
  readonly tag?: readonly string[]
  readonly fromArchive?: string
}

export function register(program: Command, context: Context): void {
  const volumes = program.command('volumes').alias('volume').description('list, create, attach, detach and delete volumes')

  addList<VolumeBody>(volumes, context, {
    path: '/volumes',
    description: 'list volumes',
    quiet: IDS,
    columns: COLUMNS,
  })

  withServer(volumes.command('create <name>').description('make a volume'))
    .option('-s, --size <size>', 'like 10G', '1G')
    .option('--id <id>', 'an id of your own')
    .option('--tag <key=value>', 'a label; may be given several times', collect)
    .option('--from-archive <file>', 'fill it from a tar.gz (- is stdin)')
    .action(async (name: string, options: CreateOptions, command: Command) => {
      const client = context.connect(command)
      const sizeBytes = parseSize('--size', options.size)
      const tags = parseKeyValues('--tag', options.tag ?? [])
      const id = options.id === undefined ? {} : { id: options.id }
      const file = options.fromArchive
      const volume =
        file === undefined
          ? await client.call<VolumeBody>('POST', '/volumes', { json: { name, sizeBytes, tags, ...id } })
          : await client.call<VolumeBody>('POST', '/volumes/from-archive', {
              query: { name, sizeBytes, tag: options.tag ?? [], ...id },
              bytes: { stream: file === '-' ? process.stdin : createReadStream(file), type: 'application/gzip' },
            })
      if (commonOptions(command).json === true) return printJson(volume)
      await print(`${volume.id}\n`)
    })

  withServer(volumes.command('inspect <volume...>').description('show everything about volumes, as JSON')).action(
    async (words: readonly string[], _options: unknown, command: Command) => {
      const client = context.connect(command)
      await printJson(await Promise.all(words.map((word) => client.call<VolumeBody>('GET', `/volumes/${part(word)}`))))
    },
  )

  withServer(volumes.command('attach <instance> <mount>').description('attach a volume as VOLUME:PATH[:ro|:overlay=SIZE], to a running instance too')).action(
    async (instance: string, mount: string, _options: unknown, command: Command) => {
      const changed = await context.connect(command).call('POST', `/instances/${part(instance)}/volumes`, { json: parseVolume(mount) })
      if (commonOptions(command).json === true) await printJson(changed)
    },
  )

  withServer(volumes.command('detach <instance> <volume>').description('detach a volume')).action(
    async (instance: string, volume: string, _options: unknown, command: Command) => {
      const changed = await context.connect(command).call('DELETE', `/instances/${part(instance)}/volumes/${part(volume)}`)
      if (commonOptions(command).json === true) await printJson(changed)
    },
  )

  addRemove(volumes, context, { path: '/volumes', argument: '<volume...>', description: 'delete volumes and what they hold' })
}

const COLUMNS: readonly Column<VolumeBody>[] = [
  { title: 'ID', text: ({ id }) => id },
  { title: 'NAME', text: ({ name }) => name },
  { title: 'SIZE', text: ({ sizeBytes }) => formatFriendlySize(sizeBytes), align: 'right' },
  { title: 'AGE', text: ({ createdAt }) => age(createdAt), align: 'right' },
  { title: 'STATUS', text: ({ status }) => status },
  {
    title: 'ATTACHED TO',
    text: ({ attachments }) => attachments.map(({ instanceId, path, mode }) => `${shortId(instanceId)}:${path}:${mode}`).join(', ') || '-',
  },
]
