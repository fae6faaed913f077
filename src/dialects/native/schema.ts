/**
 * The wire of `/berth/v1`, exactly: validation, types, the OpenAPI document and docs/native-api.md all
 * come from here.
 *
 * Conventions: camelCase; times are RFC3339 in UTC with milliseconds; sizes are integers in bytes and
 * spans integers in milliseconds, with the unit at the end of the name; what is unknown is `null`, and
 * every key of an answer is always there. Bodies refuse keys that they don't know, so that a typing
 * error is told and not ignored.
 */
import { Type } from 'typebox'
import type { Static, TSchema } from 'typebox'
import { SCOPES } from '../../instance/model.ts'
import { DESIRED_STATES, PHASES } from '../../instance/phase.ts'

/** Most items of one page of a list. */
export const MAX_PAGE = 1000
export const DEFAULT_PAGE = 100
/** Longest wait of one request. */
export const MAX_WAIT_MS = 10 * 60 * 1000
export const DEFAULT_WAIT_MS = 60 * 1000
/** Most bytes of a JSON body. */
export const MAX_JSON_BYTES = 1024 * 1024

const closed = { additionalProperties: false } as const

function nullable<T extends TSchema>(schema: T, description?: string) {
  return Type.Union([schema, Type.Null()], description === undefined ? {} : { description })
}

const Time = (description: string) => Type.String({ format: 'date-time', description })
const Text = (description: string) => Type.String({ description })
const Bytes = (description: string, minimum = 0) =>
  Type.Integer({ minimum, maximum: Number.MAX_SAFE_INTEGER, description })
const Count = (description: string, minimum = 0, maximum = Number.MAX_SAFE_INTEGER) =>
  Type.Integer({ minimum, maximum, description })

const PhaseSchema = Type.Enum(PHASES, { description: 'What the instance is doing now.' })
const ScopeSchema = Type.Enum(SCOPES, { description: 'What a key may do.' })
const ProtocolSchema = Type.Enum(['tcp', 'udp'])
const VolumeModeSchema = Type.Enum(['rw', 'ro', 'overlay'], {
  description: '`rw`: exclusive. `ro`: shared, read-only. `overlay`: a shared base; writes are kept per instance.',
})

const Tags = Type.Record(Type.String(), Type.String(), { description: 'Labels of your own.' })
const Env = Type.Record(Type.String(), Type.String(), { description: 'Environment variables.' })
const Argv = Type.Array(Type.String())
const GuestPath = (description: string) =>
  Type.String({ pattern: '^/[^\\u0000]*$', maxLength: 4096, description })

// ---- errors ----------------------------------------------------------------------------------------

export const ErrorBody = Type.Object(
  {
    error: Type.Object({
      code: Text('A word of the error catalogue; stable.'),
      message: Text('One sentence for a person: what is wrong and what to do.'),
      details: Type.Record(Type.String(), Type.Union([Type.String(), Type.Number(), Type.Boolean(), Type.Null()]), {
        description: 'Data behind the sentence: the field, the phase that refused.',
      }),
      retry: Type.Boolean({ description: 'Whether the same call may succeed later.' }),
    }),
  },
  { $id: 'Error' },
)

// ---- instances -------------------------------------------------------------------------------------

const PortMapping = Type.Object(
  {
    hostPort: Count('Port of the host.', 1, 65535),
    guestPort: Count('Port in the guest.', 1, 65535),
    protocol: Type.Optional(ProtocolSchema),
  },
  closed,
)

const Restart = Type.Object(
  {
    policy: Type.Enum(['never', 'always', 'on-failure']),
    backoffMs: Type.Optional(Count('Wait before a restart.', 0, 3_600_000)),
    maxAttempts: Type.Optional(Count('0 is without limit.', 0, 1_000_000)),
    stableAfterMs: Type.Optional(Count('After this long in `running` the attempts count from 0 again.', 0, 86_400_000)),
  },
  { description: 'What happens when the application has ended by itself.', ...closed },
)

const MountRequest = Type.Object(
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

export const CreateInstanceBody = Type.Object(
  {
    image: Type.String({ minLength: 1, maxLength: 1024, description: 'Name of the image, by tag or digest.' }),
    name: Type.Optional(
      Type.String({ maxLength: 256, description: 'Lower-case letters, digits and dashes, at most 63; otherwise one is made.' }),
    ),
    pull: Type.Optional(
      Type.Enum(['never', 'missing'], { description: '`missing` pulls the image first if it is not there. Default `never`.' }),
    ),
    vcpus: Type.Optional(Count('Virtual CPUs.', 1, 1024)),
    memoryBytes: Type.Optional(Bytes('Memory.', 1)),
    hotplugBytes: Type.Optional(Bytes('Memory that may be added while it runs.')),
    overlayBytes: Type.Optional(Bytes('Limit of what the instance can write to its root.', 1)),
    diskIoBytesPerSecond: Type.Optional(nullable(Bytes('null is unlimited.', 1))),
    env: Type.Optional(Env),
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
    restart: Type.Optional(Restart),
    afterHostRestart: Type.Optional(Type.Enum(['restart', 'stop'], { description: 'After the host has restarted.' })),
    tags: Type.Optional(Tags),
    annotations: Type.Optional(Tags),
    stopGraceMs: Type.Optional(Count('Between SIGTERM and SIGKILL on stop.', 0, 3_600_000)),
    removeWhenStopped: Type.Optional(Type.Boolean({ description: 'Deleted by itself once it has stopped.' })),
    expiresAt: Type.Optional(nullable(Type.String({ maxLength: 64 }), 'RFC3339; deleted at this time.')),
    ttlMs: Type.Optional(Count('Deleted this long from now; instead of `expiresAt`.', 1, 10 * 365 * 86_400_000)),
  },
  closed,
)
export type CreateInstanceBody = Static<typeof CreateInstanceBody>

export const UpdateInstanceBody = Type.Object(
  {
    tags: Type.Optional(Tags),
    env: Type.Optional(Env),
    restart: Type.Optional(Restart),
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

const instanceProperties = {
  id: Text('A UUID.'),
  ids: Type.Object({
    hypeman: Text('As the Hypeman dialect spells it.'),
    koyeb: Text('As the Koyeb dialect spells it.'),
    lambda: Text('As the Lambda dialect spells it.'),
    mithril: Text('As the Mithril dialect spells it.'),
  }),
  projectId: Text('The project it belongs to.'),
  name: Text('Unique among the living instances of a project.'),
  image: Text('The image as it was asked for.'),
  imageDigest: nullable(Type.String(), 'What that name meant when the instance was placed.'),
  desired: Type.Enum(DESIRED_STATES, { description: 'What was asked for last.' }),
  phase: PhaseSchema,
  phaseSince: Time('When it entered the phase.'),
  reason: nullable(Type.String(), 'Why it is in this phase, where that is not plain.'),
  errorCode: nullable(Type.String(), 'The error code behind `failed`.'),
  exit: nullable(
    Type.Object({
      code: Type.Integer({ description: '0-255; 128 + signal when a signal ended it.' }),
      signal: nullable(Type.Integer()),
      message: Type.String(),
    }),
    'How the application ended last.',
  ),
  vcpus: Type.Integer(),
  memoryBytes: Type.Integer(),
  hotplugBytes: Type.Integer(),
  overlayBytes: Type.Integer(),
  diskIoBytesPerSecond: nullable(Type.Integer()),
  env: Type.Record(Type.String(), Type.String()),
  entrypoint: nullable(Type.Array(Type.String())),
  cmd: nullable(Type.Array(Type.String())),
  user: nullable(Type.String()),
  workingDir: nullable(Type.String()),
  hostname: nullable(Type.String()),
  network: Type.Object({
    enabled: Type.Boolean(),
    name: nullable(Type.String()),
    ip: nullable(Type.String(), 'One address for life.'),
    mac: nullable(Type.String()),
    downloadBytesPerSecond: nullable(Type.Integer()),
    uploadBytesPerSecond: nullable(Type.Integer()),
    ports: Type.Array(Type.Object({ hostPort: Type.Integer(), guestPort: Type.Integer(), protocol: ProtocolSchema })),
  }),
  volumes: Type.Array(
    Type.Object({
      volumeId: Type.String(),
      path: Type.String(),
      mode: VolumeModeSchema,
      overlayBytes: nullable(Type.Integer()),
    }),
  ),
  restart: Type.Object({
    policy: Type.Enum(['never', 'always', 'on-failure']),
    backoffMs: Type.Integer(),
    maxAttempts: Type.Integer(),
    stableAfterMs: Type.Integer(),
    attempts: Type.Integer({ description: 'Restarts since it was last stable.' }),
  }),
  afterHostRestart: Type.Enum(['restart', 'stop']),
  tags: Type.Record(Type.String(), Type.String()),
  annotations: Type.Record(Type.String(), Type.String()),
  stopGraceMs: Type.Integer(),
  removeWhenStopped: Type.Boolean(),
  hostId: nullable(Type.String()),
  generation: Type.Integer({ description: 'Counts the lives of its VM.' }),
  origin: Text('The surface that made it.'),
  createdAt: Time('When it was asked for.'),
  startedAt: nullable(Type.String({ format: 'date-time' })),
  stoppedAt: nullable(Type.String({ format: 'date-time' })),
  deletedAt: nullable(Type.String({ format: 'date-time' })),
  expiresAt: nullable(Type.String({ format: 'date-time' })),
}

export const InstanceBody = Type.Object(instanceProperties, { $id: 'Instance' })
export type InstanceBody = Static<typeof InstanceBody>

export const EventBody = Type.Object(
  {
    seq: Type.Integer({ description: 'Grows with every event of the installation; the cursor of watching.' }),
    instanceId: Type.String(),
    at: Time('When it happened.'),
    kind: Type.Enum(['phase', 'note'], { description: '`phase` is a step; `note` changes no phase.' }),
    from: nullable(Type.Enum(PHASES)),
    to: Type.Enum(PHASES),
    reason: nullable(Type.String()),
  },
  { $id: 'Event' },
)
export type EventBody = Static<typeof EventBody>

export const InstanceDetailBody = Type.Object(
  {
    ...instanceProperties,
    timeline: Type.Array(Type.Unsafe<EventBody>(Type.Ref('Event#')), { description: 'Its latest events, oldest first; at most 1000.' }),
    phaseDurationsMs: Type.Record(Type.String(), Type.Number(), {
      description: 'How long it was in each phase altogether, the present one until now.',
    }),
  },
  { $id: 'InstanceDetail' },
)
export type InstanceDetailBody = Static<typeof InstanceDetailBody>

export const WaitBody = Type.Object({
  instance: Type.Unsafe<InstanceBody>(Type.Ref('Instance#')),
  timedOut: Type.Boolean({ description: 'The time limit came first. The answer is 200 all the same.' }),
})

export const StatsBody = Type.Object(
  {
    at: Time('When it was measured.'),
    cpuSeconds: Type.Number(),
    memoryRssBytes: Type.Integer(),
    memoryVirtualBytes: Type.Integer(),
    networkRxBytes: Type.Integer(),
    networkTxBytes: Type.Integer(),
    diskReadBytes: Type.Integer(),
    diskWriteBytes: Type.Integer(),
    guest: nullable(Type.Object({ memoryTotalBytes: Type.Integer(), memoryAvailableBytes: Type.Integer() })),
  },
  { $id: 'Stats' },
)
export type StatsBody = Static<typeof StatsBody>

export const PathBody = Type.Object(
  {
    exists: Type.Boolean(),
    kind: nullable(Type.Enum(['file', 'directory', 'symlink', 'other'])),
    mode: Type.Integer({ description: 'Permission bits (07777).' }),
    sizeBytes: Type.Integer(),
    uid: Type.Integer(),
    gid: Type.Integer(),
    modifiedAt: nullable(Type.String({ format: 'date-time' })),
    linkTarget: nullable(Type.String()),
    error: nullable(Type.String()),
  },
  { $id: 'Path' },
)
export type PathBody = Static<typeof PathBody>

export const WrittenBody = Type.Object({ bytesWritten: Type.Integer() })

export const LogRecordBody = Type.Object(
  {
    at: nullable(Type.String({ format: 'date-time' })),
    stream: Type.Enum(['stdout', 'stderr', 'console']),
    text: Type.String({ description: 'Without its newline.' }),
    partial: Type.Boolean({ description: 'The line goes on in the next record of this stream.' }),
  },
  { $id: 'LogRecord' },
)
export type LogRecordBody = Static<typeof LogRecordBody>

// ---- images ----------------------------------------------------------------------------------------

export const PullImageBody = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 1024, description: 'By tag or digest, of any registry.' }),
    platform: Type.Optional(Type.String({ maxLength: 64, description: '`linux/amd64` and the like.' })),
    credentials: Type.Optional(
      Type.Union([
        Type.Object({ username: Type.String({ maxLength: 256 }), password: Type.String({ maxLength: 65536 }) }, closed),
        Type.Object({ token: Type.String({ maxLength: 65536 }) }, closed),
      ]),
    ),
    tags: Type.Optional(Tags),
  },
  closed,
)
export type PullImageBody = Static<typeof PullImageBody>

export const TagImageBody = Type.Object({ target: Type.String({ minLength: 1, maxLength: 1024, description: 'The other name.' }) }, closed)

export const ImageBody = Type.Object(
  {
    name: Text('Normalised: `docker.io/library/alpine:latest`.'),
    projectId: Type.String(),
    status: Type.Enum(['pending', 'pulling', 'converting', 'ready', 'failed']),
    digest: nullable(Type.String()),
    sizeBytes: nullable(Type.Integer()),
    config: nullable(
      Type.Object({
        entrypoint: Type.Array(Type.String()),
        cmd: Type.Array(Type.String()),
        env: Type.Record(Type.String(), Type.String()),
        workingDir: Type.String(),
        user: Type.String(),
        stopSignal: nullable(Type.String()),
        exposedPorts: Type.Array(Type.String()),
      }),
    ),
    error: nullable(Type.String(), 'Why it failed.'),
    queuePosition: nullable(Type.Integer()),
    progress: nullable(Type.Number(), '0-1 while it is pulled, where the registry tells sizes.'),
    tags: Type.Record(Type.String(), Type.String()),
    createdAt: Time('When the name became known.'),
    updatedAt: Time('When the record last changed.'),
  },
  { $id: 'Image' },
)
export type ImageBody = Static<typeof ImageBody>

// ---- volumes ---------------------------------------------------------------------------------------

const VolumeIdSchema = Type.String({ pattern: '^[a-zA-Z0-9_.-]{1,64}$', description: 'An id of your own; otherwise one is made.' })

export const CreateVolumeBody = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 128 }),
    sizeBytes: Bytes('Size of the file system.', 1),
    id: Type.Optional(VolumeIdSchema),
    tags: Type.Optional(Tags),
  },
  closed,
)

export const VolumeBody = Type.Object(
  {
    id: Type.String(),
    projectId: Type.String(),
    name: Type.String(),
    sizeBytes: Type.Integer(),
    status: Type.Enum(['creating', 'ready', 'deleting', 'failed']),
    error: nullable(Type.String()),
    tags: Type.Record(Type.String(), Type.String()),
    attachments: Type.Array(Type.Object({ instanceId: Type.String(), path: Type.String(), mode: VolumeModeSchema })),
    createdAt: Time('When it was made.'),
  },
  { $id: 'Volume' },
)
export type VolumeBody = Static<typeof VolumeBody>

// ---- keys, projects, host --------------------------------------------------------------------------

export const CreateKeyBody = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 128 }),
    scopes: Type.Array(ScopeSchema, { minItems: 1, maxItems: SCOPES.length, uniqueItems: true }),
    projectId: Type.Optional(Type.String({ minLength: 1, maxLength: 128, description: "Another project than the caller's." })),
    expiresAt: Type.Optional(Type.String({ maxLength: 64, description: 'RFC3339; refused from then on.' })),
  },
  closed,
)

export const KeyBody = Type.Object(
  {
    id: Type.String(),
    projectId: Type.String(),
    name: Type.String(),
    scopes: Type.Array(ScopeSchema),
    createdAt: Time('When it was made.'),
    lastUsedAt: nullable(Type.String({ format: 'date-time' })),
    expiresAt: nullable(Type.String({ format: 'date-time' })),
  },
  { $id: 'Key' },
)
export type KeyBody = Static<typeof KeyBody>

export const NewKeyBody = Type.Object({
  key: Type.Unsafe<KeyBody>(Type.Ref('Key#')),
  secret: Text('The key itself: 64 characters, told only now.'),
})

export const CreateProjectBody = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 128 }),
    guestToGuest: Type.Optional(Type.Boolean({ description: 'Whether its instances may reach each other. Default false.' })),
  },
  closed,
)
export const UpdateProjectBody = Type.Object(
  { name: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })), guestToGuest: Type.Optional(Type.Boolean()) },
  { minProperties: 1, ...closed },
)

export const ProjectBody = Type.Object(
  { id: Type.String(), name: Type.String(), guestToGuest: Type.Boolean(), createdAt: Time('When it was made.') },
  { $id: 'Project' },
)
export type ProjectBody = Static<typeof ProjectBody>

const DeviceProperties = {
  pciAddress: Text('`0000:a2:00.0`'),
  vendorId: Type.String(),
  deviceId: Type.String(),
  vendorName: nullable(Type.String()),
  deviceName: nullable(Type.String()),
  iommuGroup: Type.Integer(),
  driver: nullable(Type.String()),
  kind: Type.Enum(['gpu', 'pci']),
}
export const DeviceBody = Type.Object(DeviceProperties, { $id: 'Device' })
export type DeviceBody = Static<typeof DeviceBody>

export const HostBody = Type.Object(
  {
    hostId: Type.String(),
    os: Type.String(),
    arch: Type.String(),
    hypervisor: Type.String(),
    accelerator: Type.Enum(['kvm', 'tcg', 'simulated']),
    acceleratorReason: Text('Why this accelerator.'),
    cpus: Type.Integer(),
    memoryBytes: Type.Integer(),
    diskBytes: Type.Integer(),
    diskFreeBytes: Type.Integer(),
    network: Type.Object({
      mode: Type.Enum(['bridge', 'user', 'none']),
      subnet: Type.String(),
      gateway: Type.String(),
      dns: Type.Array(Type.String()),
    }),
    diskUse: Type.Object({
      imagesBytes: Type.Integer(),
      imageCacheBytes: Type.Integer(),
      volumesBytes: Type.Integer(),
      overlaysBytes: Type.Integer(),
    }),
    templates: Type.Array(
      Type.Object({ vcpus: Type.Integer(), memoryBytes: Type.Integer(), state: Type.Enum(['making', 'ready']) }),
      { description: 'Sizes that start from a guest which has booted already, and those that are about to.' },
    ),
    warnings: Type.Array(Type.String(), { description: 'Sentences that an operator should read.' }),
  },
  { $id: 'Host' },
)
export type HostBody = Static<typeof HostBody>

export const ResourcesBody = Type.Object(
  {
    lines: Type.Array(
      Type.Object({
        kind: Type.Enum(['cpu', 'memory', 'disk', 'network']),
        capacity: Type.Number(),
        limit: Type.Number({ description: 'capacity × overcommit' }),
        allocated: Type.Number(),
        overcommit: Type.Number(),
      }),
    ),
    allocations: Type.Array(
      Type.Object({
        instanceId: Type.String(),
        name: Type.String(),
        vcpus: Type.Number(),
        memoryBytes: Type.Number(),
        diskBytes: Type.Number(),
        downloadBytesPerSecond: Type.Number(),
        uploadBytesPerSecond: Type.Number(),
      }),
    ),
  },
  { $id: 'Resources' },
)
export type ResourcesBody = Static<typeof ResourcesBody>

export const WhoamiBody = Type.Object({
  projectId: Type.String(),
  projectName: nullable(Type.String()),
  keyId: nullable(Type.String()),
  scopes: Type.Array(ScopeSchema),
})

export const VersionBody = Type.Object({ name: Type.Literal('berth'), version: Type.String(), api: Type.Literal('/berth/v1') })

// ---- paths and queries -----------------------------------------------------------------------------

export const InstanceParams = Type.Object({
  instance: Type.String({ minLength: 1, description: 'Id, name, the beginning of the id, or the id as any dialect spells it.' }),
})
export const InstanceVolumeParams = Type.Object({
  instance: Type.String({ minLength: 1 }),
  volume: Type.String({ minLength: 1, description: 'Id or name of the volume.' }),
})
export const ImageParams = Type.Object({
  name: Type.String({ minLength: 1, description: 'Name of the image, percent-encoded (`/` is `%2F`).' }),
})
export const VolumeParams = Type.Object({ volume: Type.String({ minLength: 1, description: 'Id or name of the volume.' }) })
export const KeyParams = Type.Object({ key: Type.String({ minLength: 1, description: 'Id or name of the key.' }) })
export const ProjectParams = Type.Object({ project: Type.String({ minLength: 1, description: 'Id or name of the project.' }) })

const pageProperties = {
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_PAGE, description: `Items of one page; default ${DEFAULT_PAGE}.` })),
  cursor: Type.Optional(Type.String({ maxLength: 1024, description: '`next` of the page before.' })),
}
export const PageQuery = Type.Object(pageProperties, closed)

const TagFilter = Type.Array(Type.String({ pattern: '^[^=]+=[\\s\\S]*$' }), { maxItems: 16, description: '`key=value`; may be given several times.' })

export const ListInstancesQuery = Type.Object(
  {
    ...pageProperties,
    phase: Type.Optional(Type.Array(Type.Enum(PHASES), { description: 'May be given several times.' })),
    name: Type.Optional(Type.String({ maxLength: 128 })),
    tag: Type.Optional(TagFilter),
    deleted: Type.Optional(Type.Boolean({ description: 'Deleted ones too.' })),
    order: Type.Optional(Type.Enum(['newest-first', 'oldest-first'])),
  },
  closed,
)

const waitMs = Type.Integer({ minimum: 0, maximum: MAX_WAIT_MS, description: `Default ${DEFAULT_WAIT_MS}.` })

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

export const LogsQuery = Type.Object(
  {
    source: Type.Optional(Type.Enum(['app', 'vmm', 'server'], { description: 'Default `app`.' })),
    tail: Type.Optional(Type.Integer({ minimum: 0, maximum: 1_000_000_000, description: 'The last so many lines; default all.' })),
    follow: Type.Optional(Type.Boolean({ description: 'Stay for what comes.' })),
    untilExit: Type.Optional(
      Type.Boolean({ description: 'Follow, starting when the instance starts, and end when all that the application wrote was told.' }),
    ),
  },
  closed,
)

export const StatQuery = Type.Object(
  { path: GuestPath('Absolute path in the guest.'), followLinks: Type.Optional(Type.Boolean()) },
  closed,
)
export const ReadFilesQuery = StatQuery
export const WriteFilesQuery = Type.Object(
  {
    path: GuestPath('With a tar: the directory it is unpacked in. Otherwise: the file.'),
    mode: Type.Optional(Type.String({ pattern: '^[0-7]{3,5}$', description: 'Octal permission bits of a single file; default 644.' })),
    uid: Type.Optional(Type.Integer({ minimum: 0, maximum: 4294967295 })),
    gid: Type.Optional(Type.Integer({ minimum: 0, maximum: 4294967295 })),
    keepOwner: Type.Optional(Type.Boolean({ description: "With a tar: the owners it names; otherwise they are root's." })),
  },
  closed,
)

export const EventsQuery = Type.Object(
  {
    instance: Type.Optional(Type.Array(Type.String({ minLength: 1 }), { maxItems: 64, description: 'May be given several times.' })),
    kind: Type.Optional(Type.Enum(['phase', 'note'])),
    after: Type.Optional(Type.Integer({ minimum: 0, description: 'Events after this `seq`.' })),
    order: Type.Optional(Type.Enum(['oldest-first', 'newest-first'], { description: 'Of the list; default `oldest-first`.' })),
    ...pageProperties,
  },
  closed,
)

export const ImportImageQuery = Type.Object({ name: Type.String({ minLength: 1, maxLength: 1024, description: 'The name it gets.' }) }, closed)
export const ImageWaitQuery = Type.Object({ timeoutMs: Type.Optional(waitMs) }, closed)
export const ListVolumesQuery = Type.Object(
  { ...pageProperties, name: Type.Optional(Type.String({ maxLength: 128 })), tag: Type.Optional(TagFilter) },
  closed,
)
export const VolumeArchiveQuery = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 128 }),
    sizeBytes: Bytes('Size of the file system.', 1),
    id: Type.Optional(VolumeIdSchema),
    tag: Type.Optional(TagFilter),
  },
  closed,
)

/** One page of a list. `next` is the cursor of the page after it, or null. */
export function page<T extends TSchema>(item: T) {
  return Type.Object({
    items: Type.Array(item),
    next: nullable(Type.String(), 'Cursor of the next page; null on the last.'),
  })
}

/** The schemas that the OpenAPI document names. */
export const COMPONENTS = [
  ErrorBody,
  InstanceBody,
  EventBody,
  InstanceDetailBody,
  StatsBody,
  PathBody,
  LogRecordBody,
  ImageBody,
  VolumeBody,
  KeyBody,
  ProjectBody,
  DeviceBody,
  HostBody,
  ResourcesBody,
] as const
