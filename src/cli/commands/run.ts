/**
 * `berth run`: an instance from an image, with its output here and its exit status as ours.
 *
 * Attached, the instance is made, its output is followed to its very end, then its exit status is asked for.
 * The application of an instance has no stdin; with -i or -t the instance idles instead and the command runs
 * in it as `berth exec` would, after which the instance is stopped.
 */
import type { Command } from 'commander'
import type { LogRecordBody } from '../../dialects/native/schema/guest.ts'
import type { ImageBody } from '../../dialects/native/schema/images.ts'
import type { InstanceBody } from '../../dialects/native/schema/instances.ts'
import { resolveCommand } from '../../instance/command.ts'
import { describeExit } from '../../instance/exit.ts'
import { part } from '../client.ts'
import type { Client } from '../client.ts'
import { commonOptions, withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { checkTerminal, runExec } from '../exec-session.ts'
import { CliError, isApiError, STATUS } from '../failure.ts'
import { parseCount, parseEnv, parseFileSystem, parseKeyValues, parsePort, parseRestart, parseSize, parseTtlMs, parseVolume, usage } from '../flags.ts'
import { healthOptions, parseHealth } from '../health-flags.ts'
import type { HealthOptions } from '../health-flags.ts'
import { idleOptions, parseIdle } from '../idle-flags.ts'
import type { IdleOptions } from '../idle-flags.ts'
import { bringImage } from '../image-pull.ts'
import type { PullWhen } from '../image-pull.ts'
import { whyText } from '../instance-text.ts'
import { print, printJson, say } from '../output.ts'
import { terminalEnv } from './exec.ts'
import { makeLineWriter } from './logs.ts'
import { collect } from './ps.ts'
import { readText } from './ssh-keys.ts'

/** What an instance does while its command runs through exec. */
const IDLE = ['sleep', '2147483647']
const WAIT_MS = 10 * 60 * 1000
/** What else stood between the braces would be a text of its own. */
const SECRET_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/
const ENDED: ReadonlySet<string> = new Set(['stopped', 'failed', 'preempted', 'deleting', 'deleted'])

interface RunOptions extends HealthOptions, IdleOptions {
  readonly detach?: boolean
  readonly name?: string
  readonly rm?: boolean
  readonly env?: readonly string[]
  readonly envFile?: readonly string[]
  readonly volume?: readonly string[]
  readonly fs?: readonly string[]
  readonly secret?: readonly string[]
  readonly publish?: readonly string[]
  readonly vcpus?: string
  readonly cpus?: string
  readonly memory?: string
  readonly type?: string
  readonly region?: string
  readonly disk?: string
  readonly entrypoint?: string
  readonly user?: string
  readonly workdir?: string
  readonly hostname?: string
  readonly restart?: string
  readonly tag?: readonly string[]
  readonly sshKey?: readonly string[]
  readonly userData?: string
  readonly network: boolean
  readonly ttl?: string
  readonly firewall?: readonly string[]
  readonly pull: string
  readonly platform?: string
  readonly interactive?: boolean
  readonly tty?: boolean
}

const HELP = `
Attached, it prints what the application writes and ends with its status; the instance stays (see "berth ps -a")
unless --rm is given. Ctrl-C stops the instance with its grace, a third Ctrl-C leaves it to that.

With -i or -t the image must have the program "sleep", and the command runs beside it as with "berth exec".

Examples:
  berth run localhost/busybox -- echo hello
  berth run -d --name web -p 8080:80 nginx:alpine
  berth run --rm -it alpine sh`

export function register(program: Command, context: Context): void {
  const run = withServer(program.command('run <image> [command...]').description('make an instance from an image, run it, show its output'))
    .passThroughOptions()
    .option('-d, --detach', 'print the id and leave it running')
    .option('--name <name>', 'otherwise one is made')
    .option('--rm', 'delete the instance when it has ended')
    .option('-e, --env <name=value>', 'a variable; NAME alone takes ours; may be given several times', collect)
    .option('--env-file <file>', 'variables, one a line', collect)
    .option('-v, --volume <volume:path[:mode]>', 'mode is rw, ro or overlay=SIZE; may be given several times', collect)
    .option('--fs <filesystem:path>', 'a shared file system; may be given several times', collect)
    .option('--firewall <ruleset>', 'let in only what this ruleset and the global rules say; may be given several times', collect)
    .option('--secret <[variable=]name>', 'a secret that it has as a variable (see berth secrets); may be given several times', collect)
    .option('-p, --publish <host:guest[/udp]>', 'a port of the host that leads into it; may be given several times', collect)
    .option('--vcpus <n>', 'virtual CPUs')
    .option('--cpus <n>', 'the same')
    .option('-m, --memory <size>', 'like 512M')
    .option('--disk <size>', 'what it may write to its root, like 10G')
    .option('--type <type>', 'of the catalogue: its CPUs, memory and disk (see berth types)')
    .option('--region <region>', 'of the catalogue; one that is simulated only pretends')
    .option('--entrypoint <program>', "instead of the image's")
    .option('-u, --user <user>', 'name, uid, name:group or uid:gid')
    .option('-w, --workdir <dir>', 'directory to run in')
    .option('--hostname <name>', 'otherwise its name')
    .option('--restart <policy>', 'never, always, on-failure or on-failure:ATTEMPTS; with -d')
    .option('--tag <key=value>', 'a label; may be given several times', collect)
    .option('--ssh-key <name>', 'who may enter it with ssh: an SSH key of the project, or a file with a public key; may be given several times', collect)
    .option('--user-data <file>', 'a script or cloud-config that is done once, at its first start')
    .option('--no-network', 'no network at all')
    .option('--ttl <duration>', 'delete it after this long, like 1h')
    .option('--pull <when>', 'missing, always or never', 'missing')
    .option('--platform <os/arch>', 'of the image, other than this machine')
    .option('-i, --interactive', 'give the command our input')
    .option('-t, --tty', 'give the command a terminal')
  idleOptions(healthOptions(run))
    .addHelpText('after', HELP)
    .action(async (image: string, words: readonly string[], options: RunOptions, command: Command) => {
      const argv = words[0] === '--' ? words.slice(1) : words
      const isJoined = options.interactive === true || options.tty === true
      checkTogether(options, isJoined)
      const wish = wishOf(image, argv, options, context)
      const client = context.connect(command)
      const found = await bringImage(client, image, pullWhen(options.pull), options.platform)
      if (options.detach === true) return detached(client, wish, commonOptions(command).json === true)
      context.setStatus(await (isJoined ? joined(client, wish, found, options, context) : attached(client, wish, options.rm === true)))
    })
}

type Wish = Readonly<Record<string, unknown>> & {
  readonly entrypoint: readonly string[] | null
  readonly cmd: readonly string[] | null
  readonly env: Readonly<Record<string, string>>
  readonly user: string | null
  readonly workingDir: string | null
}

function checkTogether(options: RunOptions, isJoined: boolean): void {
  if (options.detach === true && isJoined) throw usage('-d leaves the instance alone, so it does not go with -i or -t.')
  if (options.restart !== undefined && options.detach !== true && parseRestart(options.restart).policy !== 'never') {
    throw usage('--restart goes with -d: an attached run ends when the application ends.')
  }
  checkTerminal({ tty: options.tty === true, stdin: options.interactive === true })
}

function pullWhen(text: string): PullWhen {
  if (text === 'missing' || text === 'always' || text === 'never') return text
  throw usage(`--pull "${text}" is not missing, always or never.`)
}

function wishOf(image: string, argv: readonly string[], options: RunOptions, { env }: Context): Wish {
  const healthChecks = parseHealth(options)
  const { name, vcpus = options.cpus, memory, disk, entrypoint, user, workdir, hostname, restart, ttl, type, region } = options
  if (workdir !== undefined && !workdir.startsWith('/')) throw usage(`--workdir "${workdir}" is not an absolute path: write it like /srv.`)
  return {
    image,
    entrypoint: entrypoint === undefined ? null : entrypoint === '' ? [] : [entrypoint],
    cmd: argv.length === 0 ? null : argv,
    env: parseEnv(options.envFile ?? [], options.env ?? [], env),
    user: user ?? null,
    workingDir: workdir ?? null,
    hostname: hostname ?? null,
    network: { enabled: options.network, ports: (options.publish ?? []).map(parsePort) },
    volumes: (options.volume ?? []).map(parseVolume),
    fileSystems: (options.fs ?? []).map(parseFileSystem),
    ...(options.firewall === undefined ? {} : { firewalls: options.firewall }),
    tags: parseKeyValues('--tag', options.tag ?? []),
    ...secretsOf(options.secret),
    ...(options.sshKey === undefined ? {} : { sshKeys: options.sshKey.map(sshKeyOf) }),
    ...(options.userData === undefined ? {} : { userData: readText(options.userData) }),
    ...(name === undefined ? {} : { name }),
    ...(vcpus === undefined ? {} : { vcpus: parseCount('--vcpus', vcpus) }),
    ...(type === undefined ? {} : { type }),
    ...(region === undefined ? {} : { region }),
    ...(memory === undefined ? {} : { memoryBytes: parseSize('--memory', memory) }),
    ...(disk === undefined ? {} : { overlayBytes: parseSize('--disk', disk) }),
    ...(restart === undefined ? {} : { restart: parseRestart(restart) }),
    ...(healthChecks === undefined ? {} : { healthChecks }),
    ...(ttl === undefined ? {} : { ttlMs: parseTtlMs(ttl) }),
    ...parseIdle(options),
    // Attached, the command line deletes it once it has read the last line and the exit status.
    removeWhenStopped: options.rm === true && options.detach === true,
  }
}

async function detached(client: Client, wish: Wish, json: boolean): Promise<void> {
  const instance = await client.call<InstanceBody>('POST', '/instances', { query: { wait: 'running', timeoutMs: WAIT_MS }, json: wish })
  if (instance.phase === 'failed') throw failedToRun(instance)
  if (json) return printJson(instance)
  await print(`${instance.id}\n`)
}

async function attached(client: Client, wish: Wish, remove: boolean): Promise<number> {
  const { id, name } = await client.call<InstanceBody>('POST', '/instances', { json: wish })
  const path = `/instances/${part(id)}`
  const release = onInterrupt(client, id, name)
  try {
    const write = makeLineWriter(false)
    try {
      for await (const record of client.records<LogRecordBody>(`${path}/logs`, { query: { untilExit: true } })) await write(record)
    } catch (error) {
      // It failed before it had a log; why, the instance itself tells.
      if (!isApiError(error, 'log_not_found')) throw error
    }
    return statusOf(await ended(client, id))
  } finally {
    release()
    if (remove) await removeInstance(client, id)
  }
}

/** The instance once it has ended; its output is over, so that is at once or never. */
async function ended(client: Client, id: string): Promise<InstanceBody> {
  const path = `/instances/${part(id)}`
  const instance = await client.call<InstanceBody>('GET', path)
  if (ENDED.has(instance.phase)) return instance
  const { instance: waited } = await client.call<{ instance: InstanceBody }>('GET', `${path}/wait`, {
    query: { until: [...ENDED], timeoutMs: WAIT_MS },
  })
  return waited
}

function statusOf(instance: InstanceBody): number {
  const { exit, phase } = instance
  if (phase === 'failed' || exit === null) throw failedToRun(instance)
  // That there is no such command, or that it can't be executed, the output has told already.
  const isTold = exit.message === '' || exit.message === 'exited' || exit.code === STATUS.cannotExecute || exit.code === STATUS.commandNotFound
  if (!isTold) say(`berth: ${instance.name} ${describeExit(exit)}`)
  return exit.code
}

/** `NAME` is a variable of its own name, `VARIABLE=NAME` one of another. */
function secretsOf(words: readonly string[] | undefined): { readonly secrets?: readonly string[]; readonly secretEnv?: Readonly<Record<string, string>> } {
  if (words === undefined) return {}
  const others = Object.entries(parseKeyValues('--secret', words.filter(word => word.includes('='))))
  const odd = others.find(([, name]) => !SECRET_NAME.test(name))
  if (odd !== undefined) throw usage(`--secret ${odd[0]}=… takes the name of a secret (see berth secrets), and ${JSON.stringify(odd[1])} is none.`)
  return {
    secrets: words.filter(word => !word.includes('=')),
    ...(others.length === 0 ? {} : { secretEnv: Object.fromEntries(others.map(([variable, name]) => [variable, `{{ secret.${name} }}`])) }),
  }
}

/** A file's key, where the word is the path of one. */
function sshKeyOf(word: string): string {
  return /[/]|\.pub$/.test(word) ? readText(word).trim() : word
}

function failedToRun(instance: InstanceBody): CliError {
  const status =
    instance.errorCode === 'command_not_found'
      ? STATUS.commandNotFound
      : instance.errorCode === 'guest_path'
        ? STATUS.cannotExecute
        : STATUS.berthFailed
  return new CliError(`${instance.name} ${whyText(instance)}`, { status })
}

/** Runs the command in an idling instance, joined to this terminal. */
async function joined(client: Client, wish: Wish, image: ImageBody, options: RunOptions, context: Context): Promise<number> {
  const tty = options.tty === true
  if (image.config === null) throw new CliError(`The image ${image.name} does not say what it runs.`)
  const wanted = resolveCommand(image.config, wish)
  const idle = { ...wish, entrypoint: IDLE, cmd: [], user: null, workingDir: null, restart: { policy: 'never' } }
  const instance = await client.call<InstanceBody>('POST', '/instances', { query: { wait: 'running', timeoutMs: WAIT_MS }, json: idle })
  try {
    if (instance.phase !== 'running') {
      throw new CliError(`${instance.name} can't idle (${whyText(instance)}): -i and -t need the program "sleep" in the image; without it use -d and "berth exec".`)
    }
    const { code } = await runExec(client, instance.id, {
      command: wanted.command,
      env: { ...terminalEnv(tty, context.env), ...wanted.env },
      workingDir: wanted.workingDir,
      user: wanted.user,
      tty,
      stdin: options.interactive === true,
      timeoutMs: null,
      wake: false,
    })
    return code
  } finally {
    if (options.rm === true) await removeInstance(client, instance.id)
    else await stopInstance(client, instance.id)
  }
}

async function removeInstance(client: Client, id: string): Promise<void> {
  try {
    await client.call('DELETE', `/instances/${part(id)}`, { query: { wait: true, timeoutMs: WAIT_MS } })
  } catch (error) {
    if (!isApiError(error, 'not_found')) throw error
  }
}

async function stopInstance(client: Client, id: string): Promise<void> {
  try {
    await client.call('POST', `/instances/${part(id)}/stop`, { query: { wait: true, timeoutMs: WAIT_MS } })
  } catch (error) {
    // It has ended by itself, which is as good.
    if (!isApiError(error, 'not_found', 'invalid_state')) throw error
  }
}

/** The first Ctrl-C stops the instance, the second asks for no grace (a stop that is under way keeps its own), the third leaves it alone. */
function onInterrupt(client: Client, id: string, name: string): () => void {
  const path = `/instances/${part(id)}/stop`
  let count = 0
  const handle = () => {
    count += 1
    if (count > 2) process.exit(STATUS.interrupted)
    if (process.stderr.isTTY) say(count === 1 ? `\nberth: stopping ${name}` : `\nberth: still stopping ${name}; once more leaves it to that`)
    client.call('POST', path, { json: count === 1 ? {} : { graceMs: 0 } }).catch((error: unknown) => {
      if (!isApiError(error, 'invalid_state', 'not_found')) say(`berth: ${error instanceof Error ? error.message : String(error)}`)
    })
  }
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const signal of signals) process.on(signal, handle)
  return () => {
    for (const signal of signals) process.off(signal, handle)
  }
}
