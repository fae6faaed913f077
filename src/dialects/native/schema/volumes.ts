/** Volumes. */
import { Type } from 'typebox'
import type { Static } from 'typebox'
import { TagFilter, pageProperties } from './page.ts'
import { Bytes, Tags, Time, VolumeModeSchema, closed, nullable } from './words.ts'

export const VolumeIdSchema = Type.String({ pattern: '^[a-zA-Z0-9_.-]{1,64}$', description: 'An id of your own; otherwise one is made.' })

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

export const VolumeParams = Type.Object({ volume: Type.String({ minLength: 1, description: 'Id or name of the volume.' }) })

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
