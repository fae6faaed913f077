/** An instance as it is told. */
import { Type } from 'typebox'
import type { Static } from 'typebox'
import { DESIRED_STATES } from '../../../instance/phase.ts'
import { AutoStandbyBody } from './auto-standby.ts'
import type { EventBody } from './events.ts'
import { HealthCheckBody } from './health-checks.ts'
import { PhaseSchema, ProtocolSchema, Text, Time, VolumeModeSchema, nullable } from './words.ts'

export const instanceProperties = {
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
  fileSystems: Type.Array(Type.Object({ fileSystemId: Type.String(), path: Type.String() })),
  firewallRulesets: nullable(Type.Array(Type.String()), 'Only what these and the global rules let in reaches it; null is no firewall.'),
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
  region: nullable(Type.String(), 'Region of the catalogue; null is this machine.'),
  type: nullable(Type.String(), 'Type of the catalogue that it was made as.'),
  order: nullable(Type.Object({ kind: Type.Enum(['bid', 'reservation']), id: Type.String() }), 'The bid or reservation of the market that it belongs to.'),
  simulated: Type.Boolean({ description: 'It only pretends to run: its region is simulated.' }),
  hostId: nullable(Type.String()),
  generation: Type.Integer({ description: 'Counts the lives of its VM.' }),
  origin: Text('The surface that made it.'),
  createdAt: Time('When it was asked for.'),
  startedAt: nullable(Type.String({ format: 'date-time' })),
  stoppedAt: nullable(Type.String({ format: 'date-time' })),
  deletedAt: nullable(Type.String({ format: 'date-time' })),
  expiresAt: nullable(Type.String({ format: 'date-time' })),
  idleAfterMs: nullable(Type.Integer(), 'Goes to standby once nobody has used it for this long; null is never.'),
  autoStandby: nullable(AutoStandbyBody, 'Goes to standby once nobody has been connected to it for this long; null is never.'),
  health: nullable(
    Type.Object({
      status: Type.Enum(['starting', 'healthy', 'unhealthy', 'unknown']),
      since: Type.String({ format: 'date-time' }),
      message: nullable(Type.String(), 'Which check failed, and how.'),
    }),
    'What its health checks say; null without any, and unless it runs or sleeps.',
  ),
  healthChecks: Type.Array(HealthCheckBody, { description: 'What is asked of its application.' }),
  secrets: Type.Array(Type.String(), { description: 'Names of secrets that it has as variables.' }),
  secretEnv: Type.Record(Type.String(), Type.String(), { description: 'Variables in whose values `{{ secret.NAME }}` stands for the value of that secret.' }),
  sshKeys: Type.Array(Type.String(), { description: 'Public keys that open a shell in it over SSH.' }),
}

export const InstanceBody = Type.Object(instanceProperties, { $id: 'Instance' })
export type InstanceBody = Static<typeof InstanceBody>

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
