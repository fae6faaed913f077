/** `berth doctor`: what is there, what is missing, and what to do about it. */
import type { Command } from 'commander'
import type { Context } from '../context.ts'
import { commonOptions } from '../context.ts'
import { CliError, STATUS } from '../failure.ts'
import { paint, printJson, printLines } from '../output.ts'
import type { Colour } from '../output.ts'

const MARKS = { ok: ['✓', 'green'], warning: ['!', 'yellow'], missing: ['✗', 'red'] } as const satisfies Record<string, readonly [string, Colour]>

export function register(program: Command, context: Context): void {
  program
    .command('doctor')
    .description('tell what is there and what is missing on this machine')
    .option('--data-dir <dir>', 'the data directory to look at (BERTH_DATA_DIR)')
    .option('--clean', 'remove what Berths that are gone left on this machine')
    .option('--json', 'print JSON')
    .action(async (options: { dataDir?: string; clean?: boolean }, command: Command) => {
      const { doctor } = await import('../../server/doctor-options.ts')
      const checks = await doctor(context.env, options.dataDir === undefined ? {} : { dataDir: options.dataDir }, { clean: options.clean === true }).catch((error: unknown) => {
        throw new CliError(error instanceof Error ? error.message : String(error), { status: STATUS.usage, cause: error })
      })
      if (checks.some((check) => check.status === 'missing')) context.setStatus(STATUS.failure)
      if (commonOptions(command).json === true) {
        await printJson(checks)
        return
      }
      const width = Math.max(...checks.map((check) => check.name.length))
      const lines = checks.flatMap((check) => {
        const [mark, colour] = MARKS[check.status]
        const line = `${paint(colour, mark)} ${check.name.padEnd(width)}  ${check.detail}`
        return check.fix === null ? [line] : [line, `  ${' '.repeat(width)}  ${paint('dim', check.fix)}`]
      })
      await printLines(lines)
    })
}
