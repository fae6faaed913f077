/** `berth audit`: who did what, newest first. */
import type { Command } from 'commander'
import type { AuditBody } from '../../dialects/native/schema/audit.ts'
import { commonOptions, withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { CliError, STATUS } from '../failure.ts'
import { parseTtlMs } from '../flags.ts'
import { printJson, print, table } from '../output.ts'

const DEFAULT_LINES = 50
const LINES_LIMIT = 1000

interface AuditOptions {
  readonly action?: string
  readonly kind?: string
  readonly by?: string
  readonly since?: string
  readonly tail: string
}

export function register(program: Command, context: Context): void {
  withServer(program.command('audit [target]').description('list who did what, newest first (to one instance, or to all there is)'))
    .option('--action <action>', 'only this action, like instance.exec')
    .option('--kind <kind>', 'only targets of this kind, like volume')
    .option('--by <key>', 'only what this key did, by its id')
    .option('--since <duration>', 'only the last while, like 24h')
    .option('-n, --tail <lines>', `the latest so many, at most ${LINES_LIMIT}`, String(DEFAULT_LINES))
    .action(async (target: string | undefined, options: AuditOptions, command: Command) => {
      const { action, kind, by, since, tail } = options
      if (!/^\d{1,4}$/.test(tail) || Number(tail) < 1 || Number(tail) > LINES_LIMIT) {
        throw new CliError(`--tail takes 1 to ${LINES_LIMIT}, not "${tail}".`, { status: STATUS.usage })
      }
      const query = {
        limit: Number(tail),
        ...(target === undefined ? {} : { target }),
        ...(action === undefined ? {} : { action }),
        ...(kind === undefined ? {} : { kind }),
        ...(by === undefined ? {} : { key: by }),
        ...(since === undefined ? {} : { from: new Date(Date.now() - parseTtlMs(since, '--since')).toISOString() }),
      }
      const { items } = await context.connect(command).call<{ items: AuditBody[] }>('GET', '/audit', { query })
      if (commonOptions(command).json === true) return printJson(items)
      await print(
        table(items, [
          { title: 'TIME', text: ({ at }) => at },
          { title: 'BY', text: ({ keyId }) => keyId?.slice(0, 8) ?? '-' },
          { title: 'VIA', text: ({ via, operation }) => (operation === null ? via : `${via} ${operation}`) },
          { title: 'ACTION', text: ({ action: done }) => done },
          { title: 'TARGET', text: ({ target: { id, name } }) => name ?? id ?? '-' },
          { title: 'OUTCOME', text: ({ outcome }) => outcome, colour: ({ outcome }) => (outcome === 'ok' ? null : 'red') },
          { title: 'DETAILS', text: ({ details }) => detailsText(details) },
        ]),
      )
    })
}

function detailsText(details: Readonly<Record<string, unknown>>): string {
  return Object.entries(details)
    .map(([key, value]) => `${key}=${Array.isArray(value) ? value.join(' ') : String(value)}`)
    .join(' ')
}
