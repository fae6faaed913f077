/** `berth logs`: what an instance wrote. */
import type { Command } from 'commander'
import type { LogRecordBody } from '../../dialects/native/schema/guest.ts'
import { part } from '../client.ts'
import { commonOptions, withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { CliError, STATUS } from '../failure.ts'
import { paint, print } from '../output.ts'

interface LogsOptions {
  readonly follow?: boolean
  readonly tail: string
  readonly source: string
  readonly timestamps?: boolean
}

export function register(program: Command, context: Context): void {
  withServer(program.command('logs <instance>').description('show what an instance wrote'))
    .option('-f, --follow', 'stay for what comes')
    .option('-n, --tail <lines>', 'the last so many lines, or all', 'all')
    .option('--source <name>', 'app: the application; vmm: VMM and console; server: what Berth did', 'app')
    .option('-t, --timestamps', 'the time before each line')
    .action(async (instance: string, options: LogsOptions, command: Command) => {
      const { tail, source } = options
      if (tail !== 'all' && !/^\d{1,9}$/.test(tail)) throw new CliError(`"${tail}" is no number of lines; write one, or all.`, { status: STATUS.usage })
      const query = { source, follow: options.follow === true, ...(tail === 'all' ? {} : { tail }) }
      const records = context.connect(command).records<LogRecordBody>(`/instances/${part(instance)}/logs`, { query })
      const write = commonOptions(command).json === true ? writeJson : makeLineWriter(options.timestamps === true)
      for await (const record of records) await write(record)
    })
}

async function writeJson(record: LogRecordBody): Promise<void> {
  await print(`${JSON.stringify(record)}\n`)
}

/** Writes records where they were written: stderr to stderr, all else to stdout; pieces of a long line in one line. */
export function makeLineWriter(timestamps: boolean): (record: LogRecordBody) => Promise<void> {
  const isOpen = { stdout: false, stderr: false, console: false }
  return async ({ at, stream, text, partial }) => {
    const out = stream === 'stderr' ? process.stderr : process.stdout
    const time = timestamps && !isOpen[stream] ? `${paint('dim', at ?? '-', out)} ` : ''
    isOpen[stream] = partial
    await print(`${time}${text}${partial ? '' : '\n'}`, out)
  }
}
