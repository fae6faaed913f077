/** Whether a specification is one that any instance can have: each refusal names the field and the limit. */
import { checkAutoStandby } from '../instance/auto-standby.ts'
import { checkCommand } from '../instance/command.ts'
import { BerthError } from '../instance/errors.ts'
import type { HealthCheck } from '../instance/health.ts'
import { HEALTH_CHECKS_PER_INSTANCE_LIMIT } from '../instance/health.ts'
import type { InstanceSpec, NetworkSpec, RestartPolicy } from '../instance/model.ts'
import { checkEnv, checkHostname, checkInstanceName, checkTags } from '../instance/names.ts'
import { formatFriendlySize } from '../instance/sizes.ts'
import { checkedPublicKey } from '../instance/ssh-key.ts'
import { checkMounts } from '../instance/volume-rules.ts'
import type { Limits } from './config.ts'
import type { Core } from './core.ts'

const PORT_MAX = 65_535
const USER_LIMIT_CHARACTERS = 256
const PATH_LIMIT_BYTES = 4095
/** Of health checks and idle policies. */
const LONGEST_PERIOD_MS = 30 * 86_400_000
export const SHORTEST_IDLE_MS = 1000
/** Public keys that one instance takes. */
export const SSH_KEYS_PER_INSTANCE_LIMIT = 64

/** Throws `invalid_request`, `invalid_name` or `limit_exceeded`. */
export function checkSpec(spec: InstanceSpec, limits: Limits, nowMs: number): void {
  checkInstanceName(spec.name)
  if (spec.place?.isSimulated === true && spec.place.type === null) {
    throw new BerthError('invalid_request', `The region ${spec.place.region} is simulated and has types only: give one.`, { details: { field: 'type' } })
  }
  checkCount('vcpus', spec.vcpus, 1, limits.maxVcpus)
  checkSizes(spec, limits)
  checkRate('diskIoBytesPerSecond', spec.diskIoBytesPerSecond)
  checkEnv({ ...spec.env, ...spec.secretEnv, ...spec.derivedEnv })
  checkTags(spec.tags)
  if (spec.entrypoint !== null && spec.entrypoint.length > 0) checkCommand(spec.entrypoint)
  if (spec.cmd !== null && spec.cmd.length > 0) checkCommand(['entrypoint', ...spec.cmd])
  if (spec.hostname !== null) checkHostname(spec.hostname)
  checkText('user', spec.user, USER_LIMIT_CHARACTERS)
  checkText('workingDir', spec.workingDir, PATH_LIMIT_BYTES)
  if (spec.workingDir && !spec.workingDir.startsWith('/')) throw invalid('workingDir', 'must be an absolute path')
  checkNetwork(spec.network, limits)
  checkMounts(spec.volumes)
  checkRestartPolicy(spec.restart)
  checkCount('stopGraceMs', spec.stopGraceMs, 0, limits.maxStopGraceMs)
  checkExpiry(spec.expiresAt, nowMs)
  checkSshKeys(spec.sshKeys)
  checkHealthChecks(spec.healthChecks ?? [])
  checkIdle(spec.idleAfterMs ?? null)
  if (spec.autoStandby !== undefined && spec.autoStandby !== null) checkAutoStandby(spec.autoStandby)
}

export function checkHealthChecks(checks: readonly HealthCheck[]): void {
  if (checks.length > HEALTH_CHECKS_PER_INSTANCE_LIMIT) {
    throw new BerthError('limit_exceeded', `${checks.length} health checks are given; at most ${HEALTH_CHECKS_PER_INSTANCE_LIMIT} are allowed.`)
  }
  for (const { probe, restartAfter, ...numbers } of checks) {
    for (const [field, value] of Object.entries(numbers)) checkCount(`healthChecks.${field}`, value, field === 'graceMs' ? 0 : 1, LONGEST_PERIOD_MS)
    if (restartAfter !== null) checkCount('healthChecks.restartAfter', restartAfter, 1, LONGEST_PERIOD_MS)
    if (probe.kind === 'exec') checkCommand(probe.command)
    else if (!Number.isInteger(probe.port) || probe.port < 1 || probe.port > PORT_MAX) throw invalid('healthChecks.port', `must be a port from 1 to ${PORT_MAX}, not ${probe.port}`)
  }
}

function checkIdle(idleAfterMs: number | null): void {
  if (idleAfterMs !== null) checkCount('idleAfterMs', idleAfterMs, SHORTEST_IDLE_MS, LONGEST_PERIOD_MS)
}

function checkSshKeys(keys: readonly string[]): void {
  if (keys.length > SSH_KEYS_PER_INSTANCE_LIMIT) {
    throw new BerthError('limit_exceeded', `${keys.length} SSH keys are given; at most ${SSH_KEYS_PER_INSTANCE_LIMIT} are allowed.`)
  }
  for (const key of keys) if (checkedPublicKey(key) !== key) throw invalid('sshKeys', 'holds a key with spaces around it')
}

/**
 * What holds for an instance of this specification. One that only pretends may be as large as its type of the
 * catalogue; whether there is room for one with GPUs, admission says.
 */
export function limitsIn({ config, catalogue }: Pick<Core, 'config' | 'catalogue'>, { place }: Pick<InstanceSpec, 'place'>): Limits {
  const { limits } = config
  const type = catalogue.types.find(({ id }) => id === place?.type)
  if (type === undefined || (place?.isSimulated !== true && type.gpu === null)) return limits
  return {
    ...limits,
    maxVcpus: Math.max(limits.maxVcpus, type.vcpus),
    maxMemoryBytes: Math.max(limits.maxMemoryBytes, type.memoryBytes),
    maxOverlayBytes: Math.max(limits.maxOverlayBytes, type.diskBytes),
  }
}

export function checkExpiry(expiresAt: number | null, nowMs: number): void {
  if (expiresAt === null) return
  if (!Number.isFinite(expiresAt)) throw invalid('expiresAt', 'must be a time')
  if (expiresAt <= nowMs) throw invalid('expiresAt', 'must be in the future')
}

export function checkRestartPolicy(policy: RestartPolicy): void {
  if (policy.kind === 'never') return
  for (const field of ['backoffMs', 'maxAttempts', 'stableAfterMs'] as const) {
    const value = policy[field]
    if (!Number.isFinite(value) || value < 0) throw invalid(`restart.${field}`, 'must be a number from 0 up')
  }
}

/** Throws `limit_exceeded` past the limit, `invalid_request` where it is no such number at all. */
export function checkCount(field: string, value: number, min: number, max: number, unit: 'bytes' | null = null): void {
  if (!Number.isSafeInteger(value)) throw invalid(field, `must be a whole number, not ${value}`)
  if (value < min) throw invalid(field, `must be at least ${shown(min, unit)}, not ${shown(value, unit, min)}`)
  if (value > max) {
    throw new BerthError('limit_exceeded', `${field} is ${shown(value, unit, max)}; at most ${shown(max, unit)} is allowed.`, {
      details: { field, limit: max },
    })
  }
}

function checkSizes(spec: InstanceSpec, limits: Limits): void {
  checkCount('memoryBytes', spec.memoryBytes, limits.minMemoryBytes, limits.maxMemoryBytes, 'bytes')
  checkCount('hotplugBytes', spec.hotplugBytes, 0, limits.maxMemoryBytes, 'bytes')
  checkCount('memoryBytes and hotplugBytes together', spec.memoryBytes + spec.hotplugBytes, 1, limits.maxMemoryBytes, 'bytes')
  checkCount('overlayBytes', spec.overlayBytes, limits.minOverlayBytes, limits.maxOverlayBytes, 'bytes')
  for (const mount of spec.volumes) {
    if (mount.overlayBytes !== null) checkCount('overlayBytes of a volume', mount.overlayBytes, 1, limits.maxOverlayBytes, 'bytes')
  }
}

function checkNetwork(network: NetworkSpec, limits: Limits): void {
  checkRate('network.downloadBytesPerSecond', network.downloadBytesPerSecond)
  checkRate('network.uploadBytesPerSecond', network.uploadBytesPerSecond)
  if (network.ports.length > limits.maxPorts) {
    throw new BerthError('limit_exceeded', `${network.ports.length} ports are to be published; at most ${limits.maxPorts} are allowed.`)
  }
  if (network.ports.length > 0 && !network.enabled) throw invalid('network.ports', 'needs a network: enable it, or leave the ports out')
  const taken = new Set<string>()
  for (const port of network.ports) {
    for (const field of ['hostPort', 'guestPort'] as const) {
      const value = port[field]
      if (!Number.isInteger(value) || value < 1 || value > PORT_MAX) throw invalid(field, `must be a port from 1 to ${PORT_MAX}, not ${value}`)
    }
    const name = `${port.protocol}/${port.hostPort}`
    if (taken.has(name)) throw invalid('network.ports', `publishes ${name} twice`)
    taken.add(name)
  }
}

function checkRate(field: string, value: number | null): void {
  if (value === null) return
  if (!Number.isSafeInteger(value) || value < 1) throw invalid(field, `must be a whole number of bytes a second from 1 up, not ${value}`)
}

function checkText(field: string, value: string | null, limitCharacters: number): void {
  if (value === null) return
  if (value.length > limitCharacters) throw invalid(field, `is longer than ${limitCharacters} characters`)
  if (value.includes('\0')) throw invalid(field, 'holds a zero byte')
}

/** As a person writes it; every byte of one that would be written like its limit. */
function shown(value: number, unit: 'bytes' | null, limit: number | null = null): string {
  if (unit === null) return String(value)
  const size = formatFriendlySize(value)
  return limit !== null && size === formatFriendlySize(limit) ? `${value} bytes` : size
}

function invalid(field: string, problem: string): BerthError {
  return new BerthError('invalid_request', `${field} ${problem}.`, { details: { field } })
}
