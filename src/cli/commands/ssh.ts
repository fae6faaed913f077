/**
 * `berth ssh`: OpenSSH's own ssh, told where an instance is and which host it must be.
 *
 * An instance keeps its host key for life, and its address may belong to another one later: so that hosts are known by
 * the instance's id, in a file of their own.
 */
import { spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import type { InstanceBody } from '../../dialects/native/schema/instances.ts'
import { part } from '../client.ts'
import { withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { CliError, STATUS } from '../failure.ts'

const SSH_PORT = 22
const SIGNAL_STATUS = 128

interface SshOptions {
  readonly user?: string
  readonly identity?: string
}

const HELP = `
What follows the instance goes to ssh as it is: its options first, then the command.

Examples:
  berth ssh web
  berth ssh web uname -a
  berth ssh ubuntu@web -L 8080:127.0.0.1:80`

export function register(program: Command, context: Context): void {
  withServer(program.command('ssh <instance> [words...]').description('enter an instance with ssh (it was made with --ssh-key)'))
    .passThroughOptions()
    .option('-l, --user <user>', 'who to be there (default root)')
    .option('-i, --identity <file>', 'the private key to use')
    .addHelpText('after', HELP)
    .action(async (word: string, words: readonly string[], options: SshOptions, command: Command) => {
      const { user, name } = parseTarget(word, options.user)
      const instance = await context.connect(command).call<InstanceBody>('GET', `/instances/${part(name)}`)
      context.setStatus(await runSsh(sshArguments(instance, user, options.identity ?? null, words, knownHosts(context.env))))
    })
}

export function parseTarget(word: string, option: string | undefined): { readonly user: string; readonly name: string } {
  const at = word.lastIndexOf('@')
  return { user: option ?? (at > 0 ? word.slice(0, at) : 'root'), name: word.slice(at + 1) }
}

export function sshArguments(
  { id, name, network, phase, sshKeys }: Pick<InstanceBody, 'id' | 'name' | 'network' | 'phase' | 'sshKeys'>,
  user: string,
  identity: string | null,
  words: readonly string[],
  hostsFile: string,
): readonly string[] {
  if (sshKeys.length === 0) throw new CliError(`${name} was made without SSH keys: use "berth exec -it ${name} sh", or make one with --ssh-key.`)
  if (phase !== 'running' && phase !== 'unhealthy') throw new CliError(`${name} is ${phase}: start it, or restore it, first.`)
  const published = network.ports.find(({ guestPort, protocol }) => guestPort === SSH_PORT && protocol === 'tcp')
  const [host, port] = published === undefined ? [network.ip, SSH_PORT] : ['127.0.0.1', published.hostPort]
  if (host === null) throw new CliError(`${name} has no network: use "berth exec -it ${name} sh".`)
  const settings = [`HostKeyAlias=berth-${id}`, `UserKnownHostsFile=${hostsFile}`, 'StrictHostKeyChecking=accept-new', 'HashKnownHosts=no', 'CheckHostIP=no']
  return [
    '-l', user, '-p', String(port), ...(identity === null ? [] : ['-i', identity]), ...settings.flatMap((setting) => ['-o', setting]),
    ...optionsFirst(words, host),
  ]
}

/** ssh wants its options before the host, and the command after it. */
function optionsFirst(words: readonly string[], host: string): readonly string[] {
  let at = 0
  while (at < words.length && words[at]?.startsWith('-') === true && words[at] !== '--') at += takesValue(words[at] ?? '') ? 2 : 1
  const command = words.slice(at)
  return [...words.slice(0, at), host, ...(command[0] === '--' ? command.slice(1) : command)]
}

/** Letters of ssh(1) that a value follows, where it doesn't stand in the same word. */
function takesValue(word: string): boolean {
  return /^-[A-Za-z0-9]*[BbcDEeFIiJLlmOoPpQRSWw]$/.test(word)
}

function knownHosts(env: NodeJS.ProcessEnv): string {
  const dir = join(env['XDG_STATE_HOME'] ?? join(env['HOME'] ?? homedir(), '.local', 'state'), 'berth')
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  return join(dir, 'known_hosts')
}

function runSsh(args: readonly string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn('ssh', args, { stdio: 'inherit' })
    // The terminal's Ctrl-C is ssh's to pass on.
    const signals = ['SIGINT', 'SIGQUIT'] as const
    const ignore = () => undefined
    for (const signal of signals) process.on(signal, ignore)
    child.on('error', (error) => reject(new CliError(`ssh could not be started (${error.message}): install openssh-client.`, { status: STATUS.berthFailed })))
    child.on('exit', (code) => {
      for (const signal of signals) process.off(signal, ignore)
      resolve(code ?? SIGNAL_STATUS)
    })
  })
}
