/** Standby of an instance that nobody has a connection to, whichever port and address it came by. */
import { parseIpv4 } from './address.ts'
import { BerthError } from './errors.ts'
import { networkOf } from './firewall.ts'

export interface AutoStandby {
  readonly enabled: boolean
  /** Without a connection for this long it goes to standby. */
  readonly idleAfterMs: number
  /** Networks (`10.0.0.0/8`) whose connections don't count. */
  readonly ignoreSources: readonly string[]
  /** Ports of the guest to which connections don't count. */
  readonly ignorePorts: readonly number[]
}

/** An open TCP connection that somebody made to a guest. */
export interface InboundConnection {
  /** The guest's own. */
  readonly address: string
  /** The port in the guest. */
  readonly port: number
  /** The address that it came from. */
  readonly source: string
}

const IGNORED_LIMIT = 64
const SHORTEST_MS = 1000
const LONGEST_MS = 30 * 86_400_000

/** Throws `invalid_request` with what is wrong. */
export function checkAutoStandby({ idleAfterMs, ignoreSources, ignorePorts }: AutoStandby): void {
  const wrong = (problem: string) => new BerthError('invalid_request', `autoStandby ${problem}.`, { details: { field: 'autoStandby' } })
  if (!Number.isSafeInteger(idleAfterMs) || idleAfterMs < SHORTEST_MS || idleAfterMs > LONGEST_MS) throw wrong('has an idle time that is not from 1 s to 30 days')
  if (ignoreSources.length > IGNORED_LIMIT || ignorePorts.length > IGNORED_LIMIT) throw wrong(`ignores more than ${IGNORED_LIMIT} networks or ports`)
  const network = ignoreSources.find(text => networkOf(text) === null)
  if (network !== undefined) throw wrong(`ignores ${JSON.stringify(network.slice(0, 64))}, which is no IPv4 network: write one like 10.0.0.0/8`)
  const port = ignorePorts.find(value => !Number.isInteger(value) || value < 1 || value > 65_535)
  if (port !== undefined) throw wrong(`ignores the port ${port}: ports are 1 to 65535`)
}

/** Whether a connection keeps an instance with this policy awake. */
export function counts({ ignoreSources, ignorePorts }: AutoStandby, { port, source }: InboundConnection): boolean {
  return !ignorePorts.includes(port) && !ignoreSources.some(network => isIn(source, network))
}

function isIn(address: string, text: string): boolean {
  const [base = '', bits = '32'] = (networkOf(text) ?? '').split('/')
  const [from, at] = [parseIpv4(base), parseIpv4(address)]
  return from !== null && at !== null && at >= from && at < from + 2 ** (32 - Number(bits))
}
