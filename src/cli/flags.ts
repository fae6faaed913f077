/** Reads the values of flags: sizes, ports, volumes, key=value pairs, durations. A bad one is one sentence. */
import { readFileSync } from 'node:fs'
import type { FirewallRuleRequest } from '../dialects/native/schema/firewalls.ts'
import type { MountRequest } from '../dialects/native/schema/instance-requests.ts'
import { parseDuration } from '../instance/duration.ts'
import { parseFriendlySize } from '../instance/sizes.ts'
import { CliError, STATUS } from './failure.ts'

const DAY_MS = 86_400_000

export function usage(message: string, cause?: unknown): CliError {
  return new CliError(message, { status: STATUS.usage, ...(cause === undefined ? {} : { cause }) })
}

/** Bytes of `512M`, `1.5GiB`, `1073741824`. */
export function parseSize(flag: string, text: string): number {
  try {
    return parseFriendlySize(text)
  } catch (error) {
    throw usage(`${flag} "${text}" is not a size: write a number and a unit, like 512M or 1.5GiB.`, error)
  }
}

export function parseCount(flag: string, text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw usage(`${flag} "${text}" is not a whole number.`)
  return Number(text)
}

/** `8080:80`, `8080:80/udp` */
export function parsePort(text: string): { hostPort: number; guestPort: number; protocol: 'tcp' | 'udp' } {
  const match = /^(\d{1,5}):(\d{1,5})(?:\/(tcp|udp))?$/.exec(text)
  const hostPort = Number(match?.[1])
  const guestPort = Number(match?.[2])
  const isFit = match !== null && [hostPort, guestPort].every((port) => port >= 1 && port <= 65535)
  if (!isFit) throw usage(`--publish "${text}" is not HOST:GUEST: write it like 8080:80 or 5353:53/udp.`)
  return { hostPort, guestPort, protocol: match?.[3] === 'udp' ? 'udp' : 'tcp' }
}

/** `data:/srv`, `data:/srv:ro`, `data:/srv:overlay=2G` */
export function parseVolume(text: string): MountRequest {
  const [volume = '', path = '', mode, ...more] = text.split(':')
  if (volume === '' || !path.startsWith('/') || more.length > 0) {
    throw usage(`The volume "${text}" is not VOLUME:PATH: write it like data:/srv, data:/srv:ro or data:/srv:overlay=2G.`)
  }
  if (mode === undefined || mode === 'rw' || mode === 'ro') return { volume, path, mode: mode ?? 'rw' }
  const [, size] = /^overlay=(.+)$/.exec(mode) ?? []
  if (size === undefined) throw usage(`The volume "${text}" can't be mounted as "${mode}": use rw, ro or overlay=SIZE.`)
  return { volume, path, mode: 'overlay', overlayBytes: parseSize('overlay=', size) }
}

/** `data:/srv` */
export function parseFileSystem(text: string): { readonly fileSystem: string; readonly path: string } {
  const [fileSystem = '', path = '', ...more] = text.split(':')
  if (fileSystem !== '' && path.startsWith('/') && more.length === 0) return { fileSystem, path }
  throw usage(`"${text}" is not FILESYSTEM:PATH: write it like data:/srv.`)
}

/** `tcp:80@10.0.0.0/8`, `udp:5000-5010`, `icmp`. */
export function parseFirewallRule(text: string): FirewallRuleRequest {
  const [, protocol, first, last, source] = /^(tcp|udp|icmp|all)(?::(\d{1,5})(?:-(\d{1,5}))?)?(?:@([\d./]+))?$/.exec(text) ?? []
  if (protocol === undefined) throw usage(`--rule "${text}" is no rule: write PROTOCOL[:PORT[-PORT]][@NETWORK], like tcp:80@10.0.0.0/8.`)
  return {
    protocol: protocol as FirewallRuleRequest['protocol'],
    ports: first === undefined ? null : [Number(first), Number(last ?? first)],
    ...(source === undefined ? {} : { source }),
  }
}

/** `key=value` pairs. */
export function parseKeyValues(flag: string, texts: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    texts.map((text) => {
      const at = text.indexOf('=')
      if (at < 1) throw usage(`${flag} "${text}" is not KEY=VALUE.`)
      return [text.slice(0, at), text.slice(at + 1)]
    }),
  )
}

/** Variables as docker reads them: `NAME=value`, or `NAME` alone for the one of this shell, if it is set. */
export function parseEnv(files: readonly string[], texts: readonly string[], env: NodeJS.ProcessEnv): Record<string, string> {
  const lines = files.flatMap((file) => readEnvFile(file))
  const pairs = [...lines, ...texts].flatMap((text): [string, string][] => {
    const at = text.indexOf('=')
    if (at === 0 || text === '') throw usage(`--env "${text}" is not NAME=VALUE.`)
    if (at > 0) return [[text.slice(0, at), text.slice(at + 1)]]
    const own = env[text]
    return own === undefined ? [] : [[text, own]]
  })
  return Object.fromEntries(pairs)
}

function readEnvFile(file: string): readonly string[] {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw usage(`--env-file ${file} can't be read: ${error instanceof Error ? error.message : String(error)}.`, error)
  }
  return text
    .split(/\r?\n/)
    .map((line) => line.trimStart())
    .filter((line) => line !== '' && !line.startsWith('#'))
}

/** Milliseconds of `90s`, `24h`, `7d`. */
export function parseTtlMs(text: string, flag = '--ttl'): number {
  const days = /^(\d{1,5})d$/.exec(text)?.[1]
  try {
    const ms = days === undefined ? parseDuration(text) : Number(days) * DAY_MS
    if (ms >= 1) return Math.round(ms)
  } catch (error) {
    throw usage(`${flag} "${text}" is not a duration: write it like 90s, 24h or 7d.`, error)
  }
  throw usage(`${flag} "${text}" must be longer than nothing.`)
}

/** `never`, `always`, `on-failure`, `on-failure:3` */
export function parseRestart(text: string): { policy: 'never' | 'always' | 'on-failure'; maxAttempts?: number } {
  const match = /^(no|never|always|on-failure)(?::(\d{1,6}))?$/.exec(text)
  const [, policy, attempts] = match ?? []
  if (policy === undefined || (attempts !== undefined && policy !== 'on-failure')) {
    throw usage(`--restart "${text}" is not a policy: use never, always, on-failure or on-failure:ATTEMPTS.`)
  }
  const known = policy === 'always' || policy === 'on-failure' ? policy : 'never'
  return { policy: known, ...(attempts === undefined ? {} : { maxAttempts: Number(attempts) }) }
}
