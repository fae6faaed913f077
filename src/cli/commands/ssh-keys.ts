/** `berth ssh-keys ls | add | create | rm` */
import { readFileSync } from 'node:fs'
import type { Command } from 'commander'
import type { SshKeyBody } from '../../dialects/native/schema/ssh-keys.ts'
import { addList, addRemove, IDS } from '../collection.ts'
import { commonOptions, withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { usage } from '../flags.ts'
import { age, print, printJson, say } from '../output.ts'

interface Made {
  readonly key: SshKeyBody
  readonly privateKey: string | null
}

export function register(program: Command, context: Context): void {
  const keys = program.command('ssh-keys').alias('ssh-key').description('list, add and delete the public keys that instances are entered with')

  addList<SshKeyBody>(keys, context, {
    path: '/ssh-keys',
    description: 'list SSH keys',
    quiet: IDS,
    columns: [
      { title: 'ID', text: ({ id }) => id },
      { title: 'NAME', text: ({ name }) => name },
      { title: 'KEY', text: ({ publicKey }) => `${publicKey.split(' ')[0] ?? ''} …${publicKey.split(' ')[1]?.slice(-12) ?? ''}` },
      { title: 'AGE', text: ({ createdAt }) => age(createdAt), align: 'right' },
    ],
  })

  withServer(keys.command('add <name> <file>').description('keep a public key, like ~/.ssh/id_ed25519.pub')).action(
    async (name: string, file: string, _options: unknown, command: Command) => {
      const made = await context.connect(command).call<Made>('POST', '/ssh-keys', { json: { name, publicKey: readText(file) } })
      if (commonOptions(command).json === true) return printJson(made.key)
      await print(`${made.key.id}\n`)
    },
  )

  withServer(keys.command('create <name>').description('make a pair; the private key is printed now and never again')).action(
    async (name: string, _options: unknown, command: Command) => {
      const made = await context.connect(command).call<Made>('POST', '/ssh-keys', { json: { name } })
      if (commonOptions(command).json === true) return printJson(made)
      if (process.stderr.isTTY) say('Keep this key in a file of mode 0600, it is not shown again:')
      await print(made.privateKey ?? '')
    },
  )

  addRemove(keys, context, { path: '/ssh-keys', argument: '<key...>', description: 'delete SSH keys, by id or name' })
}

export function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw usage(`${file} can't be read: ${error instanceof Error ? error.message : String(error)}.`)
  }
}
