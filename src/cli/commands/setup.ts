/** `berth setup`: the launcher does it, before there is a command line at all; here it is only told of. */
import type { Command } from 'commander'
import { CliError } from '../failure.ts'

export function register(program: Command): void {
  program
    .command('setup')
    .description('bring what is missing on this machine (packages, guest kernel, agent, dashboard), and start nothing')
    .action(() => {
      throw new CliError('The set-up is done by the launcher: run ./berth setup in the directory of Berth.')
    })
}
