/** `berth secrets ls | set | rm` */
import type { Command } from 'commander'
import { text as readAll } from 'node:stream/consumers'
import type { SecretBody } from '../../dialects/native/schema/secrets.ts'
import { part } from '../client.ts'
import { addList, addRemove } from '../collection.ts'
import { commonOptions, withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { usage } from '../flags.ts'
import { age, print, printJson, say } from '../output.ts'
import { readText } from './ssh-keys.ts'

export function register(program: Command, context: Context): void {
  const secrets = program.command('secrets').alias('secret').description('list, set and delete values that instances get as variables and nothing ever shows')

  addList<SecretBody>(secrets, context, {
    path: '/secrets',
    description: 'list secrets; never their values',
    quiet: { what: 'names', text: ({ name }) => name },
    columns: [
      { title: 'NAME', text: ({ name }) => name },
      { title: 'AGE', text: ({ createdAt }) => age(createdAt), align: 'right' },
      { title: 'LAST SET', text: ({ updatedAt }) => `${age(updatedAt)} ago` },
    ],
  })

  withServer(secrets.command('set <name>').description('set the value of a secret, read from stdin, or from a file'))
    .option('--from-file <file>', 'a file that holds the value')
    .action(async (name: string, options: { readonly fromFile?: string }, command: Command) => {
      if (options.fromFile === undefined && process.stdin.isTTY) say('Type the value, and end it with Ctrl-D:')
      const given = options.fromFile === undefined ? await readAll(process.stdin) : readText(options.fromFile)
      // The newline with which a line ends is none of it.
      const value = given.replace(/\r?\n$/, '')
      if (value === '') throw usage(`${options.fromFile === undefined ? 'Nothing came on stdin' : `The file ${options.fromFile} is empty`}, and ${name} was left as it was: give the value, as in printf %s "$VALUE" | berth secrets set ${name}.`)
      const made = await context.connect(command).call<SecretBody>('PUT', `/secrets/${part(name)}`, { json: { value } })
      if (commonOptions(command).json === true) return printJson(made)
      await print(`${made.name}\n`)
    })

  addRemove(secrets, context, { path: '/secrets', argument: '<secret...>', description: 'delete secrets' })
}
