/** `berth serve`: the server, in this process, until a signal. Its flags are the server's own settings. */
import type { Command } from 'commander'
import type { Context } from '../context.ts'
import { CliError, STATUS } from '../failure.ts'
import { say } from '../output.ts'
import type { Flags, Setting, SettingName } from '../../server/config.ts'

export async function register(program: Command, context: Context): Promise<void> {
  const { SETTINGS } = await import('../../server/config.ts')
  const settings = Object.entries(SETTINGS) as [SettingName, Setting][]
  const command = program.command('serve').description('run the server until Ctrl-C; instances outlive it')
  for (const [name, { flag, variable, placeholder, help, fallback }] of settings) {
    // A setting without a placeholder is a secret: it would be seen in the process list.
    if (placeholder === null) continue
    const shown = fallback === '' ? '' : `, default ${fallback}`
    command.option(`--${flag} <${placeholder.toLowerCase()}>`, `${help} (${variable}${shown})`, (value: string) => flags.set(name, value))
  }
  const flags = new Map<SettingName, string>()
  command.action(async () => {
    const [{ readConfig }, { serveUntilSignal, readySentences }] = await Promise.all([import('../../server/config.ts'), import('../../server/main.ts')])
    try {
      await serveUntilSignal(readConfig(context.env, Object.fromEntries(flags) as Flags), (server) => {
        for (const sentence of readySentences(server)) say(sentence)
      })
    } catch (error) {
      throw new CliError(error instanceof Error ? error.message : String(error), { status: STATUS.failure, cause: error })
    }
  })
}
