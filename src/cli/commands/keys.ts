/** `berth keys ls | create | rm` */
import type { Command } from 'commander'
import type { KeyBody } from '../../dialects/native/schema/access.ts'
import { addList, addRemove, IDS } from '../collection.ts'
import { commonOptions, withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { parseTtlMs } from '../flags.ts'
import { age, print, printJson, say } from '../output.ts'

const DEFAULT_SCOPES = 'read,write,exec'

interface CreateOptions {
  readonly scopes: string
  readonly for?: string
  readonly project?: string
  readonly ttl?: string
}

export function register(program: Command, context: Context): void {
  const keys = program.command('keys').alias('key').description('list, create and delete API keys')

  addList<KeyBody>(keys, context, {
    path: '/keys',
    description: 'list keys',
    quiet: IDS,
    columns: [
      { title: 'ID', text: ({ id }) => id },
      { title: 'NAME', text: ({ name }) => name },
      { title: 'SCOPES', text: ({ scopes }) => scopes.join(',') },
      { title: 'FOR', text: ({ audience }) => audience?.join(',') ?? 'all' },
      { title: 'AGE', text: ({ createdAt }) => age(createdAt), align: 'right' },
      { title: 'LAST USED', text: ({ lastUsedAt }) => (lastUsedAt === null ? 'never' : `${age(lastUsedAt)} ago`) },
      { title: 'EXPIRES', text: ({ expiresAt }) => expiresAt ?? 'never' },
    ],
  })

  withServer(keys.command('create <name>').description('make a key; its secret is printed now and never again'))
    .option('--scopes <list>', 'of read, write, exec and admin', DEFAULT_SCOPES)
    .option('--for <surfaces>', 'refused everywhere but here: of native, hypeman, koyeb, lambda, mithril and mcp')
    .option('--project <project>', 'for another project')
    .option('--ttl <duration>', 'refused after this long, like 24h')
    .action(async (name: string, options: CreateOptions, command: Command) => {
      const made = await context.connect(command).call<{ key: KeyBody; secret: string }>('POST', '/keys', {
        json: {
          name,
          scopes: words(options.scopes),
          ...(options.for === undefined ? {} : { audience: words(options.for) }),
          ...(options.project === undefined ? {} : { projectId: options.project }),
          ...(options.ttl === undefined ? {} : { expiresAt: new Date(Date.now() + parseTtlMs(options.ttl)).toISOString() }),
        },
      })
      if (commonOptions(command).json === true) return printJson(made)
      if (process.stderr.isTTY) say('Keep this key, it is not shown again:')
      await print(`${made.secret}\n`)
    })

  addRemove(keys, context, { path: '/keys', argument: '<key...>', description: 'delete keys, by id or name' })
}

function words(list: string): readonly string[] {
  return list.split(',').map((word) => word.trim())
}
