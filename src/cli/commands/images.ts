/** `berth images ls | pull | import | tag | rm` */
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import type { Command } from 'commander'
import type { ImageBody } from '../../dialects/native/schema/images.ts'
import { formatFriendlySize } from '../../instance/sizes.ts'
import { part } from '../client.ts'
import type { Client } from '../client.ts'
import { addList, addRemove } from '../collection.ts'
import { commonOptions, withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { CliError } from '../failure.ts'
import { bringImage } from '../image-pull.ts'
import { age, print, printJson } from '../output.ts'
import type { Colour, Column } from '../output.ts'

const SHORT_DIGEST_CHARACTERS = 19

export function register(program: Command, context: Context): void {
  const images = program.command('images').alias('image').description('list, pull, import, tag and delete images')
  addList<ImageBody>(images, context, {
    path: '/images',
    description: 'list images',
    quiet: { what: 'names', text: ({ name }) => name },
    columns: COLUMNS,
  })

  withServer(images.command('pull <name>').description('pull an image, by tag or digest'))
    .option('--platform <os/arch>', 'other than this machine')
    .option('--username <name>', 'for a registry that wants to know; the password comes from BERTH_REGISTRY_PASSWORD')
    .action(async (name: string, options: { platform?: string; username?: string }, command: Command) => {
      const client = context.connect(command)
      if (options.username !== undefined) await queueWithPassword(client, name, options.username, options.platform, context)
      const image = await bringImage(client, name, options.username === undefined ? 'always' : 'missing', options.platform)
      if (commonOptions(command).json === true) return printJson(image)
      await print(`${image.name}\n`)
    })

  withServer(images.command('import <file> [name]').description('import an OCI archive or a docker save tar (- is stdin)')).action(
    async (file: string, name: string | undefined, _options: unknown, command: Command) => {
      const asked = name ?? nameOf(file)
      const image = await importFile(context.connect(command), file, asked)
      if (commonOptions(command).json === true) return printJson(image)
      await print(`${image.name}\n`)
    },
  )

  withServer(images.command('tag <name> <target>').description('give an image another name')).action(
    async (name: string, target: string, _options: unknown, command: Command) => {
      const image = await context.connect(command).call<ImageBody>('POST', `/images/${part(name)}/tag`, { json: { target } })
      if (commonOptions(command).json === true) return printJson(image)
      await print(`${image.name}\n`)
    },
  )

  addRemove(images, context, { path: '/images', argument: '<name...>', description: 'delete images' })
}

const COLUMNS: readonly Column<ImageBody>[] = [
  { title: 'NAME', text: ({ name }) => name },
  { title: 'DIGEST', text: ({ digest }) => digest?.slice(0, SHORT_DIGEST_CHARACTERS) ?? '-' },
  { title: 'SIZE', text: ({ sizeBytes }) => (sizeBytes === null ? '-' : formatFriendlySize(sizeBytes)), align: 'right' },
  { title: 'AGE', text: ({ createdAt }) => age(createdAt), align: 'right' },
  { title: 'STATUS', text: ({ status, error }) => (error === null ? status : `${status}: ${error}`), colour: statusColour },
]

function statusColour({ status }: ImageBody): Colour {
  if (status === 'ready') return 'green'
  return status === 'failed' ? 'red' : 'yellow'
}

async function queueWithPassword(client: Client, name: string, username: string, platform: string | undefined, { env }: Context): Promise<void> {
  const password = env['BERTH_REGISTRY_PASSWORD']
  if (password === undefined) throw new CliError('Put the password of the registry into BERTH_REGISTRY_PASSWORD.')
  await client.call('POST', '/images', { json: { name, credentials: { username, password }, ...(platform === undefined ? {} : { platform }) } })
}

/** Uploads an archive; the server answers when the image is ready or refused. */
async function importFile(client: Client, file: string, name: string): Promise<ImageBody> {
  const isStdin = file === '-'
  const size = isStdin ? undefined : await sizeOf(file)
  const stream: Readable = isStdin ? process.stdin : createReadStream(file)
  const image = await client.call<ImageBody>('POST', '/images/import', {
    query: { name },
    bytes: { stream, type: 'application/x-tar', ...(size === undefined ? {} : { lengthBytes: size }) },
  })
  return image.status === 'ready' ? image : bringImage(client, image.name, 'missing')
}

async function sizeOf(file: string): Promise<number> {
  try {
    return (await stat(file)).size
  } catch (error) {
    throw new CliError(`${file} can't be read: ${error instanceof Error ? error.message : String(error)}.`, { cause: error })
  }
}

/** `dir/My-App.tar.gz` → `localhost/my-app:latest` */
function nameOf(file: string): string {
  const base = file.split('/').at(-1)?.replace(/\.(tar|tgz|tar\.gz|oci)$/i, '').toLowerCase().replaceAll(/[^a-z0-9._-]+/g, '-') ?? ''
  if (file === '-' || !/^[a-z0-9]/.test(base)) throw new CliError('Say what the image is to be called: berth images import FILE NAME.')
  return `localhost/${base}:latest`
}
