/** Images: pulling, naming, telling. */
import { Type } from 'typebox'
import type { Static } from 'typebox'
import { waitMs } from './page.ts'
import { Tags, Text, Time, closed, nullable } from './words.ts'

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

export const ImageParams = Type.Object({
  name: Type.String({ minLength: 1, description: 'Name of the image, percent-encoded (`/` is `%2F`).' }),
})

export const ImportImageQuery = Type.Object({ name: Type.String({ minLength: 1, maxLength: 1024, description: 'The name it gets.' }) }, closed)
export const ImageWaitQuery = Type.Object({ timeoutMs: Type.Optional(waitMs) }, closed)
