/** Shared file systems. */
import { Type } from 'typebox'
import type { Static } from 'typebox'
import { Bytes, GuestPath, Time, closed, nullable } from './words.ts'

export const CreateFileSystemBody = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 128 }),
    sizeBytes: Type.Optional(Bytes('The most that its files may take; default 10 GiB.', 1)),
    region: Type.Optional(Type.String({ maxLength: 64, description: 'Region of the catalogue; default this machine. Only instances there can have it.' })),
  },
  closed,
)

export const ResizeFileSystemBody = Type.Object({ sizeBytes: Bytes('The most that its files may take from now on; not less than now.', 1) }, closed)

export const FileSystemMountRequest = Type.Object(
  {
    fileSystem: Type.String({ minLength: 1, maxLength: 128, description: 'Id or name of the file system.' }),
    path: GuestPath('Absolute path in the guest.'),
  },
  closed,
)

export const FileSystemBody = Type.Object(
  {
    id: Type.String(),
    projectId: Type.String(),
    name: Type.String({ description: 'Unique in its project.' }),
    region: Type.String(),
    sizeBytes: Type.Integer({ description: 'The most that its files may take.' }),
    usedBytes: Type.Integer({ description: 'What they take; as last seen while an instance had it.' }),
    instanceIds: Type.Array(Type.String(), { description: 'Living instances that have it.' }),
    createdAt: Time('When it was made.'),
    createdBy: nullable(Type.String(), 'The key that made it.'),
  },
  { $id: 'FileSystem' },
)
export type FileSystemBody = Static<typeof FileSystemBody>

export const InstanceFileSystemParams = Type.Object({ instance: Type.String({ minLength: 1 }), fileSystem: Type.String({ minLength: 1, description: 'Id or name of the file system.' }) })
export const FileSystemParams = Type.Object({ fileSystem: Type.String({ minLength: 1, description: 'Id or name of the file system.' }) })
