/**
 * The flags of falling asleep, which `berth run` and `berth update` have.
 *
 *   --idle-after 5m      nobody uses it; whoever does wakes it
 *   --auto-standby 5m    nobody is connected to it, by whichever way; only a restore wakes it
 */
import type { Command } from 'commander'
import type { AutoStandbyRequest } from '../dialects/native/schema/auto-standby.ts'
import { collect } from './commands/ps.ts'
import { parseTtlMs, usage } from './flags.ts'

export interface IdleOptions {
  readonly idleAfter?: string
  readonly autoStandby?: string
  readonly autoStandbyIgnore?: readonly string[]
}

interface IdleWish {
  readonly idleAfterMs?: number | null
  readonly autoStandby?: AutoStandbyRequest | null
}

const PORT_MAX = 65_535

export function idleOptions(command: Command): Command {
  return command
    .option('--idle-after <duration>', 'standby once nobody has used it for this long, like 5m; a command or a connection to a published port wakes it; off is never')
    .option('--auto-standby <duration>', 'standby once nobody has been connected to it for this long, by whichever port and address; "berth restore" wakes it; off is never')
    .option('--auto-standby-ignore <network|port>', 'connections from this network, like 10.0.0.0/8, or to this port of the guest do not count; may be given several times', collect)
}

/** What the flags say; `off` is never, where an instance may have a policy already. */
export function parseIdle({ idleAfter, autoStandby, autoStandbyIgnore = [] }: IdleOptions): IdleWish {
  if (autoStandbyIgnore.length > 0 && (autoStandby === undefined || autoStandby === 'off')) throw usage('--auto-standby-ignore goes with --auto-standby, which says after how long.')
  return {
    ...(idleAfter === undefined ? {} : { idleAfterMs: idleAfter === 'off' ? null : parseTtlMs(idleAfter, '--idle-after') }),
    ...(autoStandby === undefined ? {} : { autoStandby: autoStandby === 'off' ? null : { idleAfterMs: parseTtlMs(autoStandby, '--auto-standby'), ...ignored(autoStandbyIgnore) } }),
  }
}

function ignored(words: readonly string[]): Pick<AutoStandbyRequest, 'ignoreSources' | 'ignorePorts'> {
  const isPort = (word: string) => /^\d+$/.test(word)
  const wrong = words.find(word => isPort(word) && (Number(word) < 1 || Number(word) > PORT_MAX))
  if (wrong !== undefined) throw usage(`--auto-standby-ignore "${wrong}" is no port: ports are 1 to ${PORT_MAX}.`)
  return { ignoreSources: words.filter(word => !isPort(word)), ignorePorts: words.filter(isPort).map(Number) }
}
