/** What may be asked of an instance: bodies, paths and queries. */
import { Type } from 'typebox'
import type { Static } from 'typebox'
import { AutoStandbyRequest } from './auto-standby.ts'
import { FileSystemMountRequest } from './file-systems.ts'
import { HealthChecksRequest } from './health-checks.ts'
import { PHASES } from '../../../instance/phase.ts'
import { TagFilter, pageProperties, waitMs } from './page.ts'
import { Argv, Bytes, Count, Env, GuestPath, ProtocolSchema, Tags, VolumeModeSchema, closed, nullable } from './words.ts'

export const PortMapping = Type.Object(
  {
    hostPort: Count('Port of the host.', 1, 65535),
    guestPort: Count('Port in the guest.', 1, 65535),
    protocol: Type.Optional(ProtocolSchema),
  },
  closed,
)

export const Restart = Type.Object(
  {
    policy: Type.Enum(['never', 'always', 'on-failure']),
    backoffMs: Type.Optional(Count('Wait before a restart.', 0, 3_600_000)),
    maxAttempts: Type.Optional(Count('0 is without limit.', 0, 1_000_000)),
    stableAfterMs: Type.Optional(Count('After this long in `running` the attempts count from 0 again.', 0, 86_400_000)),
  },
  { description: 'What happens when the application has ended by itself.', ...closed },
)

export const MountRequest = Type.Object(
  {
    volume: Type.String({ minLength: 1, maxLength: 128, description: 'Id or name of the volume.' }),
    path: GuestPath('Absolute path in the guest.'),
    mode: Type.Optional(VolumeModeSchema),
    overlayBytes: Type.Optional(nullable(Bytes('Size of the writable layer; only with `overlay`.', 1))),
  },
  closed,
)
export type MountRequest = Static<typeof MountRequest>
export const AttachVolumeBody = MountRequest

const SecretNames = Type.Array(Type.String({ minLength: 1, maxLength: 128 }), { maxItems: 100, description: 'Names of secrets of the project, which it has as variables of the same names.' })

const IdleAfter = nullable(
  Count('Goes to standby once nobody has used it for this long; a command and a connection to a published port are use, and wake it.', 1000, 30 * 86_400_000),
  'null is never.',
)

export const CreateInstanceBody = Type.Object(
  {
    image: Type.String({ minLength: 1, maxLength: 1024, description: 'Name of the image, by tag or digest.' }),
    name: Type.Optional(
      Type.String({ maxLength: 256, description: 'Lower-case letters, digits and dashes, at most 63; otherwise one is made.' }),
    ),
    pull: Type.Optional(
      Type.Enum(['never', 'missing'], { description: '`missing` pulls the image first if it is not there. Default `never`.' }),
    ),
    type: Type.Optional(Type.String({ maxLength: 64, description: 'Type of the catalogue: its CPUs, memory and disk, unless they are given.' })),
    region: Type.Optional(Type.String({ maxLength: 64, description: 'Region of the catalogue; default this machine. One that is simulated needs a type.' })),
    vcpus: Type.Optional(Count('Virtual CPUs.', 1, 1024)),
    memoryBytes: Type.Optional(Bytes('Memory.', 1)),
    hotplugBytes: Type.Optional(Bytes('Memory that may be added while it runs.')),
    overlayBytes: Type.Optional(Bytes('Limit of what the instance can write to its root.', 1)),
    diskIoBytesPerSecond: Type.Optional(nullable(Bytes('null is unlimited.', 1))),
    env: Type.Optional(Env),
    secrets: Type.Optional(SecretNames),
    secretEnv: Type.Optional(Type.Record(Type.String(), Type.String(), { description: 'Variables in whose values `{{ secret.NAME }}` stands for the value of that secret.' })),
    entrypoint: Type.Optional(nullable(Argv, "Replaces the image's entrypoint and drops its command; empty is none; null keeps it.")),
    cmd: Type.Optional(nullable(Argv, "Replaces the image's command; null or empty keeps it.")),
    user: Type.Optional(nullable(Type.String({ maxLength: 256 }), '`name`, `uid`, `name:group` or `uid:gid`.')),
    workingDir: Type.Optional(nullable(GuestPath('Working directory.'))),
    hostname: Type.Optional(nullable(Type.String())),
    network: Type.Optional(
      Type.Object(
        {
          enabled: Type.Optional(Type.Boolean({ description: 'Default true.' })),
          downloadBytesPerSecond: Type.Optional(nullable(Bytes('Into the guest; null is unlimited.', 1))),
          uploadBytesPerSecond: Type.Optional(nullable(Bytes('Out of the guest; null is unlimited.', 1))),
          ports: Type.Optional(Type.Array(PortMapping, { maxItems: 256, description: 'Ports of the host that lead into the guest.' })),
        },
        closed,
      ),
    ),
    volumes: Type.Optional(Type.Array(MountRequest, { maxItems: 64 })),
    fileSystems: Type.Optional(Type.Array(FileSystemMountRequest, { maxItems: 16, description: 'Shared file systems of its region.' })),
    firewalls: Type.Optional(
      nullable(Type.Array(Type.String({ minLength: 1, maxLength: 128 }), { maxItems: 64 }), 'Names or ids of firewall rulesets: only what these and the global rules let in reaches it. Empty: the global rules alone; null: no firewall.'),
    ),
    restart: Type.Optional(Restart),
    healthChecks: Type.Optional(HealthChecksRequest),
    afterHostRestart: Type.Optional(Type.Enum(['restart', 'stop'], { description: 'After the host has restarted.' })),
    tags: Type.Optional(Tags),
    annotations: Type.Optional(Tags),
    stopGraceMs: Type.Optional(Count('Between SIGTERM and SIGKILL on stop.', 0, 3_600_000)),
    removeWhenStopped: Type.Optional(Type.Boolean({ description: 'Deleted by itself once it has stopped.' })),
    expiresAt: Type.Optional(nullable(Type.String({ maxLength: 64 }), 'RFC3339; deleted at this time.')),
    ttlMs: Type.Optional(Count('Deleted this long from now; instead of `expiresAt`.', 1, 10 * 365 * 86_400_000)),
    idleAfterMs: Type.Optional(IdleAfter),
    autoStandby: Type.Optional(nullable(AutoStandbyRequest, 'null is never.')),
    sshKeys: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 4096 }), {
        maxItems: 64,
        description: 'Who may enter it over SSH, as root and as ubuntu: names of SSH keys of the project, or public keys themselves. With none there is no SSH.',
      }),
    ),
    userData: Type.Optional(
      Type.String({
        maxLength: 1024 * 1024,
        description: 'Done once, at the first start: a script (`#!`), `#cloud-config`, or MIME parts of these, at most 1 MiB. Never told again.',
      }),
    ),
  },
  closed,
)
export type CreateInstanceBody = Static<typeof CreateInstanceBody>

export const UpdateInstanceBody = Type.Object(
  {
    name: Type.Optional(Type.String({ minLength: 1, maxLength: 256, description: 'Its new name; the host name follows with the next start.' })),
    type: Type.Optional(Type.String({ maxLength: 64, description: 'Type of the catalogue: its CPUs and memory, unless they are given; its disk stays. Only while it is stopped, as with all of its size.' })),
    vcpus: Type.Optional(Count('Virtual CPUs.', 1, 1024)),
    memoryBytes: Type.Optional(Bytes('Memory.', 1)),
    ports: Type.Optional(Type.Array(PortMapping, { maxItems: 256, description: 'All ports of the host that lead into the guest from now on; they open and close at once.' })),
    tags: Type.Optional(Tags),
    env: Type.Optional(Env),
    secrets: Type.Optional(SecretNames),
    restart: Type.Optional(Restart),
    healthChecks: Type.Optional(HealthChecksRequest),
    idleAfterMs: Type.Optional(IdleAfter),
    autoStandby: Type.Optional(nullable(AutoStandbyRequest, 'null is never.')),
    expiresAt: Type.Optional(nullable(Type.String({ maxLength: 64 }), 'RFC3339; null is never.')),
    ttlMs: Type.Optional(Count('Deleted this long from now; instead of `expiresAt`.', 1, 10 * 365 * 86_400_000)),
  },
  { minProperties: 1, ...closed },
)
export type UpdateInstanceBody = Static<typeof UpdateInstanceBody>

export const StartInstanceBody = Type.Object(
  {
    entrypoint: Type.Optional(nullable(Argv)),
    cmd: Type.Optional(nullable(Argv)),
  },
  closed,
)

export const StopInstanceBody = Type.Object(
  {
    fromStandby: Type.Optional(Type.Boolean({ description: 'Also from standby, which drops the saved state.' })),
    graceMs: Type.Optional(Count('Between SIGTERM and SIGKILL.', 0, 3_600_000)),
  },
  closed,
)

export const InstanceParams = Type.Object({
  instance: Type.String({ minLength: 1, description: 'Id, name, the beginning of the id, or the id as any dialect spells it.' }),
})
export const InstanceVolumeParams = Type.Object({
  instance: Type.String({ minLength: 1 }),
  volume: Type.String({ minLength: 1, description: 'Id or name of the volume.' }),
})

export const ListInstancesQuery = Type.Object(
  {
    ...pageProperties,
    id: Type.Optional(
      Type.Array(Type.String({ format: 'uuid' }), { maxItems: 100, description: 'Only these; may be given several times. What is not there is left out.' }),
    ),
    phase: Type.Optional(Type.Array(Type.Enum(PHASES), { description: 'May be given several times.' })),
    name: Type.Optional(Type.String({ maxLength: 128 })),
    tag: Type.Optional(TagFilter),
    deleted: Type.Optional(Type.Boolean({ description: 'Deleted ones too.' })),
    order: Type.Optional(Type.Enum(['newest-first', 'oldest-first'])),
  },
  closed,
)

/** `wait=running`: the answer comes when the work has been done, not when the wish has been recorded. */
export const ActQuery = Type.Object(
  {
    wait: Type.Optional(Type.Boolean({ description: 'Answer when the work is done and not when the wish is recorded.' })),
    timeoutMs: Type.Optional(waitMs),
  },
  closed,
)
export const CreateQuery = Type.Object(
  {
    wait: Type.Optional(Type.Enum(['running'], { description: 'Answer when it runs (or has failed or ended).' })),
    timeoutMs: Type.Optional(waitMs),
  },
  closed,
)
export const WaitQuery = Type.Object(
  {
    until: Type.Array(Type.Enum(PHASES), { minItems: 1, description: 'May be given several times.' }),
    timeoutMs: Type.Optional(waitMs),
  },
  closed,
)
export const DeleteQuery = Type.Object(
  {
    graceful: Type.Optional(Type.Boolean({ description: 'SIGTERM and grace first.' })),
    wait: Type.Optional(Type.Boolean({ description: 'Answer when everything is gone.' })),
    timeoutMs: Type.Optional(waitMs),
  },
  closed,
)
