/** `berth exec`: a command in a running instance. */
import type { Command } from 'commander'
import { withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { CliError } from '../failure.ts'
import { runExec } from '../exec-session.ts'
import { parseEnv, parseTtlMs, usage } from '../flags.ts'
import { collect } from './ps.ts'

/** What `timeout(1)` ends with. */
const TIMED_OUT_STATUS = 124

interface ExecOptions {
  readonly interactive?: boolean
  readonly tty?: boolean
  readonly env?: readonly string[]
  readonly envFile?: readonly string[]
  readonly user?: string
  readonly workdir?: string
  readonly timeout?: string
  readonly wake?: boolean
}

const HELP = `
Ends with the status of the command: 128 + signal if a signal ended it, 124 if --timeout did, 127 if there is
no such command, 126 if it can't be executed, 125 if Berth failed.`

export function register(program: Command, context: Context): void {
  withServer(program.command('exec <instance> <command...>').description('run a command in an instance'))
    .passThroughOptions()
    .option('-i, --interactive', 'give it our input')
    .option('-t, --tty', 'give it a terminal')
    .option('-e, --env <name=value>', 'a variable; NAME alone takes ours; may be given several times', collect)
    .option('--env-file <file>', 'variables, one a line', collect)
    .option('-u, --user <user>', 'name, uid, name:group or uid:gid (default root)')
    .option('-w, --workdir <dir>', 'directory to run in')
    .option('--timeout <duration>', 'end it after this long, like 30s')
    .option('--wake', 'restore the instance first if it is in standby')
    .addHelpText('after', HELP)
    .action(async (instance: string, words: readonly string[], options: ExecOptions, command: Command) => {
      const argv = words[0] === '--' ? words.slice(1) : words
      if (argv.length === 0) throw usage('Say which command to run: berth exec INSTANCE COMMAND.')
      const tty = options.tty === true
      const end = await runExec(context.connect(command), instance, {
        command: argv,
        env: { ...terminalEnv(tty, context.env), ...parseEnv(options.envFile ?? [], options.env ?? [], context.env) },
        workingDir: options.workdir ?? null,
        user: options.user ?? null,
        tty,
        stdin: options.interactive === true,
        timeoutMs: options.timeout === undefined ? null : parseTtlMs(options.timeout),
        wake: options.wake === true,
      })
      if (end.timedOut) throw new CliError(`The command was ended after ${options.timeout ?? ''}.`, { status: TIMED_OUT_STATUS })
      context.setStatus(end.code)
    })
}

/** What programs on a terminal look for. */
export function terminalEnv(tty: boolean, env: NodeJS.ProcessEnv): Record<string, string> {
  return tty ? { TERM: env['TERM'] ?? 'xterm' } : {}
}

