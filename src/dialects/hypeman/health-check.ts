/** `health_check` and `health_status`: one check an instance, asked over HTTP, TCP, or by a command in the guest. */
import { healthNow } from '../../instance/health.ts'
import type { HealthCheck, HealthProbe } from '../../instance/health.ts'
import { formatDuration } from '../../instance/duration.ts'
import { quoteGo } from '../../instance/go-text.ts'
import type { Instance } from '../../instance/model.ts'
import { duration } from './durations.ts'
import { wireError } from './errors.ts'
import type * as wire from './schema.ts'
import { formatTimestamp } from './timestamp.ts'

const CODE = 'invalid_health_check'
const DEFAULT_INTERVAL_MS = 10_000
const DEFAULT_TIMEOUT_MS = 2000
const DEFAULT_START_PERIOD_MS = 30_000
const DEFAULT_FAILURES = 3
const DEFAULT_SUCCESSES = 1
const DEFAULT_STATUS = 200
const SHORTEST_MS = 100
const COUNT_MAX = 1000
const PORT_MAX = 65_535
const STATUS_MIN = 100
const STATUS_MAX = 599
const PATH = /^\/[\x21-\x7e]{0,2047}$/

/** The checks that an instance gets; none for `none`. */
export function acceptHealthCheck(check: wire.HealthCheck | undefined): readonly HealthCheck[] {
  const type = check?.type ?? 'none'
  if (check === undefined || type === 'none') return []
  const unhealthyAfter = count(check.failure_threshold, DEFAULT_FAILURES, 'failure_threshold')
  return [
    {
      probe: probeOf(check, type),
      intervalMs: period(check.interval, DEFAULT_INTERVAL_MS, 'interval'),
      timeoutMs: period(check.timeout, DEFAULT_TIMEOUT_MS, 'timeout'),
      graceMs: duration(check.start_period, DEFAULT_START_PERIOD_MS, CODE, 'health_check.start_period'),
      unhealthyAfter,
      healthyAfter: count(check.success_threshold, DEFAULT_SUCCESSES, 'success_threshold'),
      // The restart policy decides whether anything follows from it.
      restartAfter: unhealthyAfter,
    },
  ]
}

export function presentHealth(instance: Instance): Pick<wire.Instance, 'health_check' | 'health_status'> {
  const [check] = instance.spec.healthChecks ?? []
  const health = healthNow(instance)
  if (check === undefined) return {}
  return {
    health_check: {
      interval: formatDuration(check.intervalMs),
      timeout: formatDuration(check.timeoutMs),
      start_period: formatDuration(check.graceMs),
      failure_threshold: check.unhealthyAfter,
      success_threshold: check.healthyAfter,
      ...presentProbe(check.probe),
    },
    health_status: {
      status: health?.status ?? 'unknown',
      ...(health === null ? {} : { last_transition_at: formatTimestamp(health.since) }),
      ...(health === null || health.message === null ? {} : { last_error: health.message }),
    },
  }
}

function presentProbe(probe: HealthProbe): wire.HealthCheck {
  switch (probe.kind) {
    case 'tcp':
      return { type: 'tcp', tcp: { port: probe.port } }
    case 'http':
      return { type: 'http', http: { port: probe.port, path: probe.path, scheme: probe.scheme, expected_status: probe.expectedStatus ?? DEFAULT_STATUS } }
    case 'exec':
      return { type: 'exec', exec: { command: [...probe.command], ...(probe.workingDir === null ? {} : { working_dir: probe.workingDir }) } }
  }
}

function probeOf(check: wire.HealthCheck, type: 'http' | 'tcp' | 'exec'): HealthProbe {
  switch (type) {
    case 'tcp':
      return { kind: 'tcp', port: port(check.tcp?.port, 'tcp.port') }
    case 'http': {
      const { path = '/', scheme = 'http', expected_status: expectedStatus = DEFAULT_STATUS } = check.http ?? {}
      if (!PATH.test(path)) throw refused('http.path', `${quoteGo(path.slice(0, 64))} is not a path like /health`)
      if (expectedStatus < STATUS_MIN || expectedStatus > STATUS_MAX) throw refused('http.expected_status', `from ${STATUS_MIN} to ${STATUS_MAX}`)
      return { kind: 'http', port: port(check.http?.port, 'http.port'), path, scheme, method: 'GET', headers: {}, expectedStatus }
    }
    case 'exec': {
      const { command = [], working_dir: workingDir = '' } = check.exec ?? {}
      if (command.length === 0 || command[0] === '') throw refused('exec.command', 'it must hold a program and its arguments')
      if (workingDir !== '' && !workingDir.startsWith('/')) throw refused('exec.working_dir', 'it must be an absolute path')
      return { kind: 'exec', command, workingDir: workingDir === '' ? null : workingDir }
    }
  }
}

function port(value: number | undefined, field: string): number {
  if (value === undefined || value < 1 || value > PORT_MAX) throw refused(field, `a port from 1 to ${PORT_MAX} is required`)
  return value
}

function count(value: number | undefined, fallback: number, field: string): number {
  const number = value === undefined || value === 0 ? fallback : value
  if (number < 1 || number > COUNT_MAX) throw refused(field, `from 1 to ${COUNT_MAX}`)
  return number
}

function period(text: string | undefined, fallbackMs: number, field: string): number {
  const ms = duration(text, fallbackMs, CODE, `health_check.${field}`)
  if (ms < SHORTEST_MS) throw refused(field, `it must be at least ${SHORTEST_MS} ms`)
  return ms
}

function refused(field: string, problem: string) {
  return wireError('invalid_request', CODE, `invalid health_check.${field}: ${problem}`)
}
