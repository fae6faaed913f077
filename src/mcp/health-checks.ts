/** Health checks as tools take them, flat: a port alone is asked for a connection, with a path by HTTP; a command is run. */
import { z } from 'zod'
import type { HealthCheck, HealthProbe } from '../instance/health.ts'
import { Argv } from './schema.ts'

const CHECKS_LIMIT = 16
const LONGEST_S = 86_400
const HEALTHY_AFTER = 1

const Check = z
  .strictObject({
    port: z.int().min(1).max(65_535).optional().describe('Passes when it takes a connection'),
    path: z.string().regex(/^\/[\x21-\x7e]*$/).max(2048).optional().describe('With port: passes when GET answers 200 to 399'),
    command: Argv.optional().describe('Instead of port: passes when it ends with 0'),
    interval_s: z.int().min(1).max(LONGEST_S).default(10),
    timeout_s: z.int().min(1).max(LONGEST_S).default(2),
    grace_s: z.int().min(0).max(LONGEST_S).default(30).describe('After a start, in which failures do not count'),
    failures: z.int().min(1).max(1000).default(3).describe('In a row that make it UNHEALTHY; where restart says so it is then restarted'),
  })
  .refine(({ port, path, command }) => (port === undefined) !== (command === undefined) && (path === undefined || port !== undefined), {
    message: 'give port, port and path, or command',
  })

export const HealthChecks = z.array(Check).max(CHECKS_LIMIT).describe('It is HEALTHY once all pass')

export function acceptHealthChecks(checks: z.output<typeof HealthChecks>): readonly HealthCheck[] {
  return checks.map(check => ({
    probe: probeOf(check),
    intervalMs: check.interval_s * 1000,
    timeoutMs: check.timeout_s * 1000,
    graceMs: check.grace_s * 1000,
    unhealthyAfter: check.failures,
    healthyAfter: HEALTHY_AFTER,
    restartAfter: check.failures,
  }))
}

function probeOf({ port = 0, path, command }: z.output<typeof Check>): HealthProbe {
  if (command !== undefined) return { kind: 'exec', command, workingDir: null }
  if (path === undefined) return { kind: 'tcp', port }
  return { kind: 'http', port, path, scheme: 'http', method: 'GET', headers: {}, expectedStatus: null }
}
