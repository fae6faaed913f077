/** `berth projects ls | create | update` */
import type { Command } from 'commander'
import type { ProjectBody } from '../../dialects/native/schema/access.ts'
import { part } from '../client.ts'
import { addList, IDS } from '../collection.ts'
import { commonOptions, withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { age, print, printJson } from '../output.ts'

interface ChangeOptions {
  readonly guestToGuest?: boolean
  readonly name?: string
}

export function register(program: Command, context: Context): void {
  const projects = program.command('projects').alias('project').description('list, create and change projects')

  addList<ProjectBody>(projects, context, {
    path: '/projects',
    description: 'list projects',
    quiet: IDS,
    columns: [
      { title: 'ID', text: ({ id }) => id },
      { title: 'NAME', text: ({ name }) => name },
      { title: 'GUEST TO GUEST', text: ({ guestToGuest }) => (guestToGuest ? 'allowed' : 'refused') },
      { title: 'AGE', text: ({ createdAt }) => age(createdAt), align: 'right' },
    ],
  })

  withServer(projects.command('create <name>').description('make a project'))
    .option('--guest-to-guest', 'its instances may reach each other')
    .action(async (name: string, options: ChangeOptions, command: Command) => {
      const { guestToGuest } = options
      const made = await context.connect(command).call<ProjectBody>('POST', '/projects', {
        json: { name, ...(guestToGuest === undefined ? {} : { guestToGuest }) },
      })
      if (commonOptions(command).json === true) return printJson(made)
      await print(`${made.id}\n`)
    })

  withServer(projects.command('update <project>').description('change a project'))
    .option('--name <name>', 'its new name')
    .option('--guest-to-guest', 'its instances may reach each other')
    .option('--no-guest-to-guest', 'they may not')
    .action(async (project: string, options: ChangeOptions, command: Command) => {
      const { name, guestToGuest } = options
      const changed = await context.connect(command).call<ProjectBody>('PATCH', `/projects/${part(project)}`, {
        json: { ...(name === undefined ? {} : { name }), ...(guestToGuest === undefined ? {} : { guestToGuest }) },
      })
      if (commonOptions(command).json === true) return printJson(changed)
      await print(`${changed.id}\n`)
    })
}
