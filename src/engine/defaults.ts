/** What create means where the request is silent. */
import type { InstanceSpec } from '../instance/model.ts'
import type { CreateInstance } from './api.ts'

const MIB = 2 ** 20
const GIB = 2 ** 30

export const DEFAULT_SPEC: Omit<InstanceSpec, 'name' | 'image'> = {
  vcpus: 1,
  memoryBytes: 512 * MIB,
  hotplugBytes: 0,
  overlayBytes: 4 * GIB,
  diskIoBytesPerSecond: null,
  env: {},
  entrypoint: null,
  cmd: null,
  user: null,
  workingDir: null,
  hostname: null,
  network: { enabled: true, downloadBytesPerSecond: null, uploadBytesPerSecond: null, ports: [] },
  volumes: [],
  fileSystems: [],
  firewallRulesets: null,
  restart: { kind: 'never' },
  afterHostRestart: 'restart',
  tags: {},
  stopGraceMs: 10_000,
  removeWhenStopped: false,
  expiresAt: null,
  sshKeys: [],
}

/** The whole specification of what a request asks for; `name` where it gives none. */
export function specOf(request: CreateInstance, name: string): InstanceSpec {
  return {
    name: request.name ?? name,
    image: request.image,
    vcpus: request.vcpus ?? DEFAULT_SPEC.vcpus,
    memoryBytes: request.memoryBytes ?? DEFAULT_SPEC.memoryBytes,
    hotplugBytes: request.hotplugBytes ?? DEFAULT_SPEC.hotplugBytes,
    overlayBytes: request.overlayBytes ?? DEFAULT_SPEC.overlayBytes,
    diskIoBytesPerSecond: request.diskIoBytesPerSecond ?? DEFAULT_SPEC.diskIoBytesPerSecond,
    env: request.env ?? DEFAULT_SPEC.env,
    entrypoint: request.entrypoint ?? DEFAULT_SPEC.entrypoint,
    cmd: request.cmd ?? DEFAULT_SPEC.cmd,
    user: request.user ?? DEFAULT_SPEC.user,
    workingDir: request.workingDir ?? DEFAULT_SPEC.workingDir,
    hostname: request.hostname ?? DEFAULT_SPEC.hostname,
    network: request.network ?? DEFAULT_SPEC.network,
    volumes: request.volumes ?? DEFAULT_SPEC.volumes,
    fileSystems: request.fileSystems ?? DEFAULT_SPEC.fileSystems,
    firewallRulesets: request.firewallRulesets ?? DEFAULT_SPEC.firewallRulesets,
    restart: request.restart ?? DEFAULT_SPEC.restart,
    afterHostRestart: request.afterHostRestart ?? DEFAULT_SPEC.afterHostRestart,
    tags: request.tags ?? DEFAULT_SPEC.tags,
    stopGraceMs: request.stopGraceMs ?? DEFAULT_SPEC.stopGraceMs,
    removeWhenStopped: request.removeWhenStopped ?? DEFAULT_SPEC.removeWhenStopped,
    expiresAt: request.expiresAt ?? DEFAULT_SPEC.expiresAt,
    sshKeys: request.sshKeys ?? DEFAULT_SPEC.sshKeys,
    place: request.place ?? null,
    ...(request.secrets === undefined || request.secrets.length === 0 ? {} : { secrets: [...new Set(request.secrets)] }),
    ...(request.secretEnv === undefined || Object.keys(request.secretEnv).length === 0 ? {} : { secretEnv: request.secretEnv }),
    ...(request.derivedEnv === undefined || Object.keys(request.derivedEnv).length === 0 ? {} : { derivedEnv: request.derivedEnv }),
    ...(request.healthChecks === undefined || request.healthChecks.length === 0 ? {} : { healthChecks: request.healthChecks }),
    ...(request.idleAfterMs === undefined || request.idleAfterMs === null ? {} : { idleAfterMs: request.idleAfterMs }),
    ...(request.autoStandby === undefined || request.autoStandby === null ? {} : { autoStandby: request.autoStandby }),
  }
}
