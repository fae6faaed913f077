/** Health checks as the forms hold them: what is asked, and how often. What a form does not show of a check stays as it was. Pure. */
import type { HealthCheckBody } from '../../../dialects/native/schema/health-checks.ts'
import { formatSpan } from '../../components/format.ts'
import { quoteWord, splitWords } from './shell-text.ts'

export type CheckKind = 'http' | 'https' | 'tcp' | 'exec'

export interface CheckDraft {
  readonly kind: CheckKind
  readonly port: number
  readonly path: string
  /** Words as a shell would split them. */
  readonly command: string
  readonly intervalSeconds: number
  readonly timeoutSeconds: number
  readonly graceSeconds: number
  /** In a row, until it is unhealthy. */
  readonly failures: number
  /** The check that it was. */
  readonly before: HealthCheckBody | null
}

export const FIRST_CHECK: CheckDraft = { kind: 'http', port: 80, path: '/', command: '', intervalSeconds: 10, timeoutSeconds: 2, graceSeconds: 30, failures: 3, before: null }

const SECOND_MS = 1000

export function checkDraft(check: HealthCheckBody): CheckDraft {
  const { tcp, http, exec, intervalMs, timeoutMs, graceMs, unhealthyAfter } = check
  return {
    kind: http?.scheme ?? (tcp === null ? 'exec' : 'tcp'),
    port: http?.port ?? tcp?.port ?? FIRST_CHECK.port,
    path: http?.path ?? '/',
    command: (exec?.command ?? []).map(quoteWord).join(' '),
    intervalSeconds: intervalMs / SECOND_MS,
    timeoutSeconds: timeoutMs / SECOND_MS,
    graceSeconds: graceMs / SECOND_MS,
    failures: unhealthyAfter,
    before: check,
  }
}

/** As the API takes it. */
export function checkRequest(draft: CheckDraft): Readonly<Record<string, unknown>> {
  const { intervalSeconds, timeoutSeconds, graceSeconds, failures, before } = draft
  return {
    ...probeOf(draft),
    intervalMs: Math.round(intervalSeconds * SECOND_MS),
    timeoutMs: Math.round(timeoutSeconds * SECOND_MS),
    graceMs: Math.round(graceSeconds * SECOND_MS),
    unhealthyAfter: failures,
    ...(before === null ? {} : { healthyAfter: before.healthyAfter, restartAfter: before.restartAfter === before.unhealthyAfter ? failures : before.restartAfter }),
  }
}

function probeOf({ kind, port, path, command, before }: CheckDraft): Readonly<Record<string, unknown>> {
  switch (kind) {
    case 'tcp':
      return { tcp: { port } }
    case 'exec':
      return { exec: { command: [...splitWords(command)], ...(before === null || before.exec === null ? {} : { workingDir: before.exec.workingDir }) } }
    case 'http':
    case 'https':
      return { http: { ...before?.http, port, path: path === '' ? '/' : path, scheme: kind } }
  }
}

/** What is wrong with it, for whoever writes it. */
export function checkProblem({ kind, port, path, command, intervalSeconds, timeoutSeconds, failures }: CheckDraft): string | null {
  if (kind === 'exec' && splitWords(command).length === 0) return 'A check needs its command.'
  if (kind !== 'exec' && !(port >= 1 && port <= 65_535)) return 'A check needs its port, 1 to 65535.'
  if ((kind === 'http' || kind === 'https') && !/^\/[\x21-\x7e]*$|^$/.test(path)) return 'A path begins with / and has no spaces.'
  if (!(intervalSeconds >= 0.1) || !(timeoutSeconds >= 0.1)) return 'A check takes at least 0.1 s.'
  return failures >= 1 ? null : 'One failure is the least.'
}

/** As `berth run --health-check` takes it. */
export function checkFlag(draft: CheckDraft): string {
  const { kind, port, path, command } = draft
  if (kind === 'exec') return `exec:${command}`
  return kind === 'tcp' ? `tcp:${port}` : `${kind}:${port}${path === '/' ? '' : path}`
}

/** `GET http on port 80, /healthz` and the like. */
export function tellCheck({ tcp, http, exec, intervalMs, unhealthyAfter }: HealthCheckBody): string {
  const what = http !== null ? `${http.method} ${http.scheme}://…:${http.port}${http.path}` : tcp !== null ? `TCP port ${tcp.port}` : (exec?.command ?? []).map(quoteWord).join(' ')
  return `${what}, every ${formatSpan(intervalMs)}; ${unhealthyAfter === 1 ? 'one failure is' : `${unhealthyAfter} failures are`} too many`
}
