/** `berth filesystems ls | create | inspect | resize | attach | detach | rm` */
import type { Command } from 'commander'
import type { FileSystemBody } from '../../dialects/native/schema/file-systems.ts'
import { formatFriendlySize } from '../../instance/sizes.ts'
import { part } from '../client.ts'
import { addList, addRemove, IDS } from '../collection.ts'
import { commonOptions, withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { parseFileSystem, parseSize } from '../flags.ts'
import { shortId } from '../instance-text.ts'
import { age, print, printJson } from '../output.ts'
import type { Column } from '../output.ts'

export function register(program: Command, context: Context): void {
  const all = program.command('filesystems').alias('fs').description('list, make and delete file systems that instances share')

  addList<FileSystemBody>(all, context, {
    path: '/file-systems',
    description: 'list shared file systems',
    quiet: IDS,
    columns: COLUMNS,
  })

  withServer(all.command('create <name>').description('make one; instances get it with berth run --fs NAME:PATH'))
    .option('-s, --size <size>', 'the most that its files may take, like 100G', '10G')
    .option('--region <region>', 'of the catalogue; default this machine')
    .action(async (name: string, options: { size: string; region?: string }, command: Command) => {
      const { size, region } = options
      const json = { name, sizeBytes: parseSize('--size', size), ...(region === undefined ? {} : { region }) }
      const made = await context.connect(command).call<FileSystemBody>('POST', '/file-systems', { json })
      if (commonOptions(command).json === true) return printJson(made)
      await print(`${made.id}\n`)
    })

  withServer(all.command('inspect <filesystem...>').description('show everything about file systems, as JSON')).action(
    async (words: readonly string[], _options: unknown, command: Command) => {
      const client = context.connect(command)
      await printJson(await Promise.all(words.map((word) => client.call<FileSystemBody>('GET', `/file-systems/${part(word)}`))))
    },
  )

  withServer(all.command('resize <filesystem> <size>').description('make one larger, like 100G, while instances have it too')).action(
    async (word: string, size: string, _options: unknown, command: Command) => {
      const after = await context.connect(command).call<FileSystemBody>('PATCH', `/file-systems/${part(word)}`, { json: { sizeBytes: parseSize('size', size) } })
      if (commonOptions(command).json === true) await printJson(after)
    },
  )

  withServer(all.command('attach <instance> <mount>').description('mount one as FILESYSTEM:PATH, in a running instance too')).action(
    async (instance: string, mount: string, _options: unknown, command: Command) => {
      const changed = await context.connect(command).call('POST', `/instances/${part(instance)}/file-systems`, { json: parseFileSystem(mount) })
      if (commonOptions(command).json === true) await printJson(changed)
    },
  )

  withServer(all.command('detach <instance> <filesystem>').description('unmount one')).action(async (instance: string, word: string, _options: unknown, command: Command) => {
    const changed = await context.connect(command).call('DELETE', `/instances/${part(instance)}/file-systems/${part(word)}`)
    if (commonOptions(command).json === true) await printJson(changed)
  })

  addRemove(all, context, { path: '/file-systems', argument: '<filesystem...>', description: 'delete file systems and what they hold' })
}

const COLUMNS: readonly Column<FileSystemBody>[] = [
  { title: 'ID', text: ({ id }) => id },
  { title: 'NAME', text: ({ name }) => name },
  { title: 'REGION', text: ({ region }) => region },
  { title: 'USED', text: ({ usedBytes }) => formatFriendlySize(usedBytes), align: 'right' },
  { title: 'SIZE', text: ({ sizeBytes }) => formatFriendlySize(sizeBytes), align: 'right' },
  { title: 'AGE', text: ({ createdAt }) => age(createdAt), align: 'right' },
  { title: 'INSTANCES', text: ({ instanceIds }) => instanceIds.map(shortId).join(', ') || '-' },
]
