/** Assembles the program from its commands, runs it, and turns what goes wrong into one sentence and a status. */
import { Command, CommanderError } from 'commander'
import { makeContext } from './context.ts'
import type { Context } from './context.ts'
import { CliError, commandStatus, STATUS } from './failure.ts'
import { paint, visible } from './output.ts'

export interface CommandModule {
  readonly register: (program: Command, context: Context) => void | Promise<void>
}

/** In the order of `berth help`. */
const COMMANDS: Readonly<Record<string, () => Promise<CommandModule>>> = {
  quickstart: () => import('./commands/quickstart.ts'),
  setup: () => import('./commands/setup.ts'),
  serve: () => import('./commands/serve.ts'),
  run: () => import('./commands/run.ts'),
  ps: () => import('./commands/ps.ts'),
  exec: () => import('./commands/exec.ts'),
  ssh: () => import('./commands/ssh.ts'),
  logs: () => import('./commands/logs.ts'),
  cp: () => import('./commands/cp.ts'),
  stop: () => import('./commands/lifecycle.ts'),
  start: () => import('./commands/lifecycle.ts'),
  restart: () => import('./commands/lifecycle.ts'),
  standby: () => import('./commands/lifecycle.ts'),
  restore: () => import('./commands/lifecycle.ts'),
  rm: () => import('./commands/lifecycle.ts'),
  update: () => import('./commands/update.ts'),
  inspect: () => import('./commands/inspect.ts'),
  stats: () => import('./commands/stats.ts'),
  events: () => import('./commands/events.ts'),
  audit: () => import('./commands/audit.ts'),
  images: () => import('./commands/images.ts'),
  snapshots: () => import('./commands/snapshots.ts'),
  fork: () => import('./commands/snapshots.ts'),
  volumes: () => import('./commands/volumes.ts'),
  filesystems: () => import('./commands/file-systems.ts'),
  firewall: () => import('./commands/firewalls.ts'),
  keys: () => import('./commands/keys.ts'),
  secrets: () => import('./commands/secrets.ts'),
  'ssh-keys': () => import('./commands/ssh-keys.ts'),
  projects: () => import('./commands/projects.ts'),
  types: () => import('./commands/types.ts'),
  market: () => import('./commands/market.ts'),
  bids: () => import('./commands/market.ts'),
  reservation: () => import('./commands/reservations.ts'),
  usage: () => import('./commands/market.ts'),
  host: () => import('./commands/host.ts'),
  mcp: () => import('./commands/mcp.ts'),
  capability: () => import('./commands/capability.ts'),
  completion: () => import('./commands/completion.ts'),
  doctor: () => import('./commands/doctor.ts'),
  version: () => import('./commands/version.ts'),
}
/** Not for people. */
const HIDDEN: Readonly<Record<string, () => Promise<CommandModule>>> = {
  __complete: () => import('./commands/completion.ts'),
}
/** Commands whose small statuses belong to what runs in the instance. */
const FOREIGN_STATUS: ReadonlySet<string> = new Set(['run', 'exec', 'ssh'])

const EPILOGUE = `
Exit status: 0 done, 1 failed, 2 asked wrongly. run, exec and ssh end with the status of the command in the
instance; with 125 if Berth failed, 126 if the command can't be executed, 127 if there is no such command.

Berth is asked at --server, BERTH_SERVER, or the server of this machine.`

/** Runs the command line; the process ends with the right status. */
export async function run(args: readonly string[]): Promise<void> {
  const name = commandName(args)
  endOnBrokenPipe()
  try {
    const program = await makeProgram(name)
    await program.parseAsync([...args], { from: 'user' })
  } catch (error) {
    process.exitCode = report(error, name, args)
  }
  // Whatever is still open (a terminal's input, a kept connection) must not keep the command alive.
  await new Promise((resolve) => process.stdout.write('', resolve))
  process.exit()
}

/** The program with one command, or with all of them. */
export async function makeProgram(name: string | null, env: NodeJS.ProcessEnv = process.env): Promise<Command> {
  const program = new Command('berth')
    .description('Your own instance cloud: real microVMs from OCI images, on machines of yours.')
    .enablePositionalOptions()
    .option('--server <url>', 'the server to speak to (BERTH_SERVER)')
    .option('--key <key>', 'the API key (BERTH_KEY)')
    .option('--json', 'print JSON')
    .addHelpText('after', EPILOGUE)
    .showHelpAfterError(false)
  const context = makeContext(env)
  const load = name === null ? undefined : (COMMANDS[name] ?? HIDDEN[name])
  const loaders = load === undefined ? [...new Set(Object.values(COMMANDS).map((each) => each))] : [load]
  const modules = new Set(await Promise.all(loaders.map((each) => each())))
  for (const { register } of modules) await register(program, context)
  sortCommands(program)
  throwNotExit(program)
  return program
}

/** Several commands share a module, so they are put into the order of the table. */
function sortCommands(program: Command): void {
  const order = Object.keys(COMMANDS)
  ;(program.commands as Command[]).sort((a, b) => order.indexOf(a.name()) - order.indexOf(b.name()))
}

/** Commander's way out is an exception for every command, so that one place decides on status and words. */
function throwNotExit(command: Command): void {
  command.exitOverride().configureOutput({ outputError: () => undefined })
  for (const each of command.commands) throwNotExit(each)
}

/** The first word that is no option of the program itself. */
function commandName(args: readonly string[]): string | null {
  for (let at = 0; at < args.length; at += 1) {
    const word = args[at] ?? ''
    if (word === '--server' || word === '--key') at += 1
    else if (word === '--help' || word === '-h') return null
    else if (!word.startsWith('-')) return word
  }
  return null
}

function report(error: unknown, name: string | null, args: readonly string[]): number {
  const isForeign = name !== null && FOREIGN_STATUS.has(name)
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return 0
    // The help stands there already.
    if (error.code === 'commander.help') return isForeign ? STATUS.berthFailed : STATUS.usage
    const hint = name === null || !(name in COMMANDS) ? 'berth --help' : `berth ${name} --help`
    complain(`${usageSentence(error.message, args)}; see "${hint}".`)
    return isForeign ? STATUS.berthFailed : STATUS.usage
  }
  if (error instanceof CliError) {
    if (error.message !== '') complain(error.message)
    return isForeign ? commandStatus(error) : error.status
  }
  complain(`Berth's command line met an error of its own: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
  return isForeign ? STATUS.berthFailed : STATUS.failure
}

/** What was asked wrongly, without its full stop. */
function usageSentence(message: string, args: readonly string[]): string {
  // A collection's bare name lists it, so to the parser a misspelt command is a word too many for the list.
  const misspelt = args.includes('ls') || args.includes('list') ? null : /^error: too many arguments for 'ls'.*: ([^,]+)/.exec(message)
  if (misspelt !== null) return `unknown command '${misspelt[1] ?? ''}'`
  return message.replace(/^error: /, '').replaceAll('\n', ' ').replace(/\.?$/, '')
}

function complain(text: string): void {
  process.stderr.write(`${paint('red', 'berth:', process.stderr)} ${text.split('\n').map(visible).join('\n')}\n`)
}

/** `berth logs -f x | head`: whoever read us has gone, and that is no failure. */
function endOnBrokenPipe(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0)
    throw error
  })
}
