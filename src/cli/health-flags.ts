/**
 * The flags of health checks, which `berth run` and `berth update` have: what is asked, and how often.
 *
 *   --health-check tcp:8000    http:8000/healthz    https:8443/healthz    exec:COMMAND (in a shell of the guest)
 */
import type { Command } from 'commander'
import type { HealthCheckRequest } from '../dialects/native/schema/health-checks.ts'
import { collect } from './commands/ps.ts'
import { parseCount, parseTtlMs, usage } from './flags.ts'

export interface HealthOptions {
  readonly healthCheck?: readonly string[]
  readonly healthInterval?: string
  readonly healthTimeout?: string
  readonly healthStartPeriod?: string
  readonly healthRetries?: string
}

export function healthOptions(command: Command): Command {
  return command
    .option('--health-check <probe>', 'tcp:PORT, http:PORT/PATH, https:PORT/PATH or exec:COMMAND; may be given several times', collect)
    .option('--health-interval <duration>', 'between two checks; otherwise 10s')
    .option('--health-timeout <duration>', 'how long a check may take; otherwise 2s')
    .option('--health-start-period <duration>', 'failures this soon after a start do not count; otherwise 30s')
    .option('--health-retries <n>', 'failures in a row that make it unhealthy, and that --restart restarts it after; otherwise 3')
}

/** The checks that the flags say; undefined where they say nothing. */
export function parseHealth(options: HealthOptions): readonly HealthCheckRequest[] | undefined {
  const { healthCheck, healthInterval, healthTimeout, healthStartPeriod, healthRetries } = options
  if (healthCheck === undefined) {
    const alone = Object.entries({ '--health-interval': healthInterval, '--health-timeout': healthTimeout, '--health-start-period': healthStartPeriod, '--health-retries': healthRetries }).find(([, value]) => value !== undefined)
    if (alone !== undefined) throw usage(`${alone[0]} goes with --health-check, which says what is asked.`)
    return undefined
  }
  const numbers = {
    ...(healthInterval === undefined ? {} : { intervalMs: parseTtlMs(healthInterval, '--health-interval') }),
    ...(healthTimeout === undefined ? {} : { timeoutMs: parseTtlMs(healthTimeout, '--health-timeout') }),
    ...(healthStartPeriod === undefined ? {} : { graceMs: /^0[a-z]*$/.test(healthStartPeriod) ? 0 : parseTtlMs(healthStartPeriod, '--health-start-period') }),
    ...(healthRetries === undefined ? {} : { unhealthyAfter: parseCount('--health-retries', healthRetries) }),
  }
  return healthCheck.map(text => ({ ...parseProbe(text), ...numbers }))
}

function parseProbe(text: string): Pick<HealthCheckRequest, 'tcp' | 'http' | 'exec'> {
  const [, kind, rest = ''] = /^(tcp|https?|exec):(.+)$/s.exec(text) ?? []
  if (kind === 'exec') return { exec: { command: ['sh', '-c', rest] } }
  const [, port, path] = /^(\d{1,5})(\/.*)?$/.exec(rest) ?? []
  if (port === undefined || (kind === 'tcp' && path !== undefined)) {
    throw usage(`--health-check "${text}" is no check: write tcp:8000, http:8000/healthz or exec:COMMAND.`)
  }
  if (kind === 'tcp') return { tcp: { port: Number(port) } }
  return { http: { port: Number(port), scheme: kind === 'https' ? 'https' : 'http', ...(path === undefined ? {} : { path }) } }
}
