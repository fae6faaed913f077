/** Snapshots and forks. */
import { Type } from 'typebox'
import type { Static } from 'typebox'
import { FORK_TARGETS, SNAPSHOT_KINDS } from '../../../instance/snapshot.ts'
import { TagFilter, pageProperties } from './page.ts'
import { Tags, Time, closed, nullable } from './words.ts'

const Name = Type.String({ minLength: 1, maxLength: 63 })
const Kind = Type.Enum(SNAPSHOT_KINDS, { description: '`standby`: memory and disks. `stopped`: disks alone.' })
const Target = Type.Enum(FORK_TARGETS, { description: 'The state that it is to end in; `stopped` takes the disks alone.' })

export const CreateSnapshotBody = Type.Object({ kind: Type.Optional(Kind), name: Type.Optional(Name), tags: Type.Optional(Tags) }, closed)
export const ForkBody = Type.Object({ name: Name, target: Type.Optional(Target) }, closed)
export const RestoreSnapshotBody = Type.Object({ target: Type.Optional(Target) }, closed)

export const SnapshotBody = Type.Object(
  {
    id: Type.String(),
    projectId: Type.String(),
    name: nullable(Type.String()),
    kind: Kind,
    status: Type.Enum(['creating', 'ready', 'failed', 'deleting']),
    instanceId: Type.String({ description: 'What it was taken of; it may be gone.' }),
    instanceName: Type.String({ description: 'Its name then.' }),
    image: Type.String(),
    sizeBytes: Type.Integer({ description: 'What it takes of the disk.' }),
    tags: Type.Record(Type.String(), Type.String()),
    createdAt: Time('When it was taken.'),
  },
  { $id: 'Snapshot' },
)
export type SnapshotBody = Static<typeof SnapshotBody>

export const SnapshotParams = Type.Object({ snapshot: Type.String({ minLength: 1, description: 'Id of the snapshot, its name, or the beginning of the id.' }) })

export const ListSnapshotsQuery = Type.Object(
  {
    ...pageProperties,
    instance: Type.Optional(Type.String({ minLength: 1, maxLength: 255, description: 'Only of this instance: its id, also when it is gone, or its name.' })),
    kind: Type.Optional(Kind),
    name: Type.Optional(Name),
    tag: Type.Optional(TagFilter),
  },
  closed,
)
