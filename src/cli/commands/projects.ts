/** `berth projects ls | create | update` */
import type { Command } from 'commander'
import type { ProjectBody } from '../../dialects/native/schema/access.ts'
import { part } from '../client.ts'
import { commonOptions, withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { age, print, printJson, printLines, table } from '../output.ts'

interface ChangeOptions {
  readonly guestToGuest?: boolean
  readonly name?: string
}

export function register(program: Command, context: Context): void {
  const projects = program.command('projects').alias('project').description('list, create and change projects')

  withServer(projects.command('ls', { isDefault: true }).alias('list').description('list projects'))
    .option('-q, --quiet', 'ids only')
    .action(async (options: { quiet?: boolean }, command: Command) => {
      const all = await context.connect(command).list<ProjectBody>('/projects')
      if (commonOptions(command).json === true) return printJson(all)
      if (options.quiet === true) return printLines(all.map(({ id }) => id))
      await print(
        table(all, [
          { title: 'ID', text: ({ id }) => id },
          { title: 'NAME', text: ({ name }) => name },
          { title: 'GUEST TO GUEST', text: ({ guestToGuest }) => (guestToGuest ? 'allowed' : 'refused') },
          { title: 'AGE', text: ({ createdAt }) => age(createdAt), align: 'right' },
        ]),
      )
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
