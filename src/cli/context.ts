/** What every command is given besides its own arguments. */
import type { Command } from 'commander'
import { Client } from './client.ts'
import { findConnection } from './connection.ts'

export interface Context {
  readonly env: NodeJS.ProcessEnv
  /** The client for the server that the command line, the environment and the files name. */
  readonly connect: (command: Command) => Client
  /** Ends the process with this status once the command is done; 0 if never called. */
  readonly setStatus: (status: number) => void
}

export interface CommonOptions {
  readonly server?: string
  readonly key?: string
  readonly json?: boolean
}

export function makeContext(env: NodeJS.ProcessEnv): Context {
  return {
    env,
    connect: (command) => {
      const { server, key } = commonOptions(command)
      return new Client(findConnection({ ...(server === undefined ? {} : { server }), ...(key === undefined ? {} : { key }) }, env))
    },
    setStatus: (status) => {
      process.exitCode = status
    },
  }
}

/** `--server`, `--key` and `--json`, given before or after the command's name. */
export function commonOptions(command: Command): CommonOptions {
  const chain: CommonOptions[] = []
  for (let each: Command | null = command; each !== null; each = each.parent) chain.unshift(each.opts())
  return Object.assign({}, ...chain) as CommonOptions
}

/** Adds the options that every command has that speaks to a server. */
export function withServer(command: Command): Command {
  return command
    .option('--server <url>', 'the server to speak to (BERTH_SERVER)')
    .option('--key <key>', 'the API key (BERTH_KEY)')
    .option('--json', 'print JSON')
}
