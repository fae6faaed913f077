/** The shapes that several tools share: how an instance, an event and a page look to a model. Closed, snake case. */
import { z } from 'zod'
import type { RestartPolicy } from '../instance/model.ts'
import type { AutoStandby as AutoStandbyPolicy } from '../instance/auto-standby.ts'
import { KOYEB_STATUSES } from '../instance/projection.ts'
import { PHASES } from '../instance/phase.ts'

/** Longest word that can mean an instance. */
const WORD_LIMIT_CHARACTERS = 64
const PORTS_LIMIT = 64
export const PAGE_LIMIT = 100
export const PAGE_DEFAULT = 20
/** Longest wait of one call. */
export const WAIT_LIMIT_MS = 600_000
export const WAIT_DEFAULT_MS = 120_000

export const InstanceWord = z.string().min(1).max(WORD_LIMIT_CHARACTERS).regex(/^[A-Za-z0-9_-]+$/).describe('Id or name of the instance')
export const GuestPath = z.string().min(1).max(4095).startsWith('/', 'must be an absolute path')
export const Env = z.record(z.string().min(1).max(256), z.string().max(131_071))
export const Argv = z
  .array(z.string().max(131_071), { error: ({ code }) => (code === 'invalid_type' ? 'must be a list of words like ["ls","-la"]; for shell syntax write ["/bin/sh","-c","…"]' : undefined) })
  .min(1)
  .max(256)
export const Ports = z
  .array(
    z.strictObject({
      host_port: z.int().min(1).max(65_535).optional().describe('A free one is taken without it, and told in the answer'),
      guest_port: z.int().min(1).max(65_535),
      protocol: z.enum(['tcp', 'udp']).default('tcp'),
    }),
  )
  .max(PORTS_LIMIT)
export type Ports = z.output<typeof Ports>

export const SecretNames = z.array(z.string().min(1).max(128)).max(100)
/** `{{ secret.NAME }}` in a value stands for the secret's. */
export const SecretEnv = z.record(z.string().min(1).max(256), z.string().max(131_071)).describe('Variables with secrets in their values: {"URL":"https://bot:{{ secret.NAME }}@host"}')
export const AutoStandby = z
  .strictObject({
    idle_after_s: z.int().min(1).max(2_592_000),
    ignore_sources: z.array(z.string().min(1).max(64)).max(64).default([]).describe('Networks like 10.0.0.0/8 whose connections do not count'),
    ignore_ports: z.array(z.int().min(1).max(65_535)).max(64).default([]).describe('Ports of the guest to which they do not count'),
  })
  .nullable()
export function acceptAutoStandby(wanted: z.output<typeof AutoStandby>): AutoStandbyPolicy | null {
  return wanted === null ? null : { enabled: true, idleAfterMs: wanted.idle_after_s * 1000, ignoreSources: wanted.ignore_sources, ignorePorts: wanted.ignore_ports }
}
export const Restart = z.enum(['never', 'always', 'on-failure'])
export function acceptRestart(kind: z.output<typeof Restart>): RestartPolicy {
  return kind === 'never' ? { kind } : { kind, backoffMs: 1000, maxAttempts: 0, stableAfterMs: 60_000 }
}
export const InstanceName = z.string().min(1).max(63).describe('Lower-case letters, digits, dashes')
export const Tags = z.record(z.string().min(1).max(128), z.string().max(256))
export const Status = z.enum(KOYEB_STATUSES)

export const Limit = z.int().min(1).max(PAGE_LIMIT).default(PAGE_DEFAULT)
export const Offset = z.int().min(0).max(1_000_000).default(0)
export const Order = z.enum(['asc', 'desc']).default('desc')
export const Wait = z.boolean().default(true).describe('Answer when it is done, not when it is asked for')
export const WaitMs = z.int().min(0).max(WAIT_LIMIT_MS).default(WAIT_DEFAULT_MS).describe('How long to wait')

/** RFC 3339, UTC. */
const Time = z.string().meta({ format: 'date-time' })
const TimeOrNull = Time.nullable()

const summary = {
  id: z.string(),
  name: z.string(),
  status: Status,
  phase: z.enum(PHASES).describe('Finer than status'),
  image: z.string(),
  type: z.string().nullable(),
  region: z.string().nullable(),
  app_id: z.string().nullable(),
  service_id: z.string().nullable(),
  deployment_id: z.string().nullable(),
  replica_index: z.int().nullable(),
  created_at: Time,
  updated_at: Time.describe('When the status last changed'),
}
export const Summary = z.strictObject(summary)
export type Summary = z.output<typeof Summary>

export const Instance = z.strictObject({
  ...summary,
  desired: z.string().describe('What it was asked to be'),
  reason: z.string().nullable().describe('Why it is in this phase, where that is not plain'),
  error_code: z.string().nullable(),
  exit: z.strictObject({ code: z.int(), signal: z.int().nullable(), message: z.string() }).nullable().describe('How its application last ended'),
  ids: z.strictObject({ hypeman: z.string(), lambda: z.string(), mithril: z.string() }).describe('The same id as other APIs spell it'),
  vcpus: z.int(),
  memory_mib: z.number(),
  disk_mib: z.number().describe('How much it can write'),
  ip: z.string().nullable(),
  ports: z.array(z.strictObject({ host_port: z.int(), guest_port: z.int(), protocol: z.enum(['tcp', 'udp']) })),
  volumes: z.array(z.strictObject({ id: z.string(), path: z.string(), mode: z.enum(['rw', 'ro', 'overlay']) })),
  file_systems: z.array(z.strictObject({ id: z.string(), path: z.string() })),
  firewalls: z.array(z.string()).nullable().describe('Ids of its rulesets; null is no firewall'),
  entrypoint: z.array(z.string()).nullable(),
  command: z.array(z.string()).nullable(),
  env_names: z.array(z.string()).describe('Names of its variables; values are not shown'),
  secrets: z.array(z.string()).describe('Names; values are never shown'),
  secret_env: z.record(z.string(), z.string()).describe('As it was given, without values of secrets'),
  tags: z.record(z.string(), z.string()),
  health: z.strictObject({ status: z.enum(['starting', 'healthy', 'unhealthy', 'unknown']), message: z.string().nullable() }).nullable().describe('What its health checks say; null without any'),
  sleeps_after_s: z.number().nullable(),
  restart: Restart,
  started_at: TimeOrNull,
  stopped_at: TimeOrNull,
  expires_at: TimeOrNull,
})
export type Instance = z.output<typeof Instance>

export const Event = z.strictObject({
  id: z.string(),
  when: Time,
  instance_id: z.string(),
  type: z.string(),
  message: z.string(),
  status: Status,
  phase: z.enum(PHASES),
})
export type Event = z.output<typeof Event>

/** What an instance has become, without what does not change with that: for answers of tools that act. */
export const Brief = Instance.pick({
  id: true,
  name: true,
  status: true,
  phase: true,
  image: true,
  type: true,
  region: true,
  vcpus: true,
  memory_mib: true,
  disk_mib: true,
  ip: true,
  ports: true,
  reason: true,
  error_code: true,
  exit: true,
  created_at: true,
  expires_at: true,
})
export type Brief = z.output<typeof Brief>

export const One = z.strictObject({ instance: Instance })
