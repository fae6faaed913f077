/** `berth version` */
import { readFileSync } from 'node:fs'
import type { Command } from 'commander'
import { commonOptions, withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { CliError } from '../failure.ts'
import { print, printJson } from '../output.ts'

export function register(program: Command, context: Context): void {
  withServer(program.command('version').description('show the version of this command and of the server'))
    .option('--client', 'only of this command; asks no server')
    .action(async (options: { client?: boolean }, command: Command) => {
      const client = ownVersion()
      const server = options.client === true ? null : await serverVersion(context, command)
      if (commonOptions(command).json === true) {
        await printJson({ client, server: server?.version ?? null })
        return
      }
      await print(`client  ${client}\n`)
      if (options.client !== true) await print(`server  ${server === null ? 'none answers' : `${server.version} at ${server.url}`}\n`)
    })
}

export function ownVersion(): string {
  const file = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(file) as { version: string }).version
}

async function serverVersion(context: Context, command: Command): Promise<{ version: string; url: string } | null> {
  const client = context.connect(command)
  try {
    const { version } = await client.call<{ version: string }>('GET', '/version')
    return { version, url: client.server }
  } catch (error) {
    // No server is no failure here: its version is what was asked for, and there is none.
    if (error instanceof CliError) return null
    throw error
  }
}
