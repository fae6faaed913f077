/** Health checks between the wire and the engine. What the wire leaves out has the numbers of Hypeman's checks. */
import { BerthError } from '../../instance/errors.ts'
import type { HealthCheck, HealthProbe } from '../../instance/health.ts'
import type { HealthCheckBody, HealthCheckRequest } from './schema/health-checks.ts'

const INTERVAL_MS = 10_000
const TIMEOUT_MS = 2000
const GRACE_MS = 30_000
const FAILURES = 3
const PASSES = 1

/** Throws `invalid_request` where a check has not just one probe. */
export function acceptHealthChecks(checks: readonly HealthCheckRequest[]): readonly HealthCheck[] {
  return checks.map((check, index) => {
    const { intervalMs = INTERVAL_MS, timeoutMs = TIMEOUT_MS, graceMs = GRACE_MS, unhealthyAfter = FAILURES, healthyAfter = PASSES, restartAfter = unhealthyAfter } = check
    return { probe: probeOf(check, `healthChecks[${index}]`), intervalMs, timeoutMs, graceMs, unhealthyAfter, healthyAfter, restartAfter }
  })
}

export function presentHealthCheck({ probe, ...numbers }: HealthCheck): HealthCheckBody {
  const none = { tcp: null, http: null, exec: null }
  switch (probe.kind) {
    case 'tcp':
      return { ...none, tcp: { port: probe.port }, ...numbers }
    case 'http': {
      const { port, path, scheme, method, headers, expectedStatus } = probe
      return { ...none, http: { port, path, scheme, method, headers: { ...headers }, expectedStatus }, ...numbers }
    }
    case 'exec':
      return { ...none, exec: { command: [...probe.command], workingDir: probe.workingDir }, ...numbers }
  }
}

function probeOf({ tcp, http, exec }: HealthCheckRequest, field: string): HealthProbe {
  const probes: HealthProbe[] = []
  if (tcp !== undefined) probes.push({ kind: 'tcp', port: tcp.port })
  if (http !== undefined) {
    const { port, path = '/', scheme = 'http', method = 'GET', headers = {}, expectedStatus = null } = http
    probes.push({ kind: 'http', port, path, scheme, method, headers, expectedStatus })
  }
  if (exec !== undefined) probes.push({ kind: 'exec', command: exec.command, workingDir: exec.workingDir ?? null })
  const [probe, ...more] = probes
  if (probe === undefined || more.length > 0) throw new BerthError('invalid_request', `${field} has ${probes.length} of tcp, http and exec: give one.`, { details: { field } })
  return probe
}
