/** What is in the guest: usage, files, log. */
import { Type } from 'typebox'
import type { Static } from 'typebox'
import { GuestPath, Time, closed, nullable } from './words.ts'

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

export const StatsSampleBody = Type.Object(
  { instanceId: Type.String(), stats: Type.Unsafe<StatsBody>(Type.Ref('Stats#')) },
  { $id: 'StatsSample' },
)
export type StatsSampleBody = Static<typeof StatsSampleBody>

export const StatsHistoryBody = Type.Object({ items: Type.Array(Type.Unsafe<StatsBody>(Type.Ref('Stats#'))) })

export const WatchStatsQuery = Type.Object(
  {
    instance: Type.Array(Type.String({ minLength: 1 }), { minItems: 1, maxItems: 100, description: 'May be given several times.' }),
  },
  closed,
)

export const DirectoryBody = Type.Object(
  {
    path: Type.String(),
    entries: Type.Array(
      Type.Object({
        name: Type.String(),
        kind: Type.Enum(['file', 'directory', 'symlink', 'other']),
        mode: Type.Integer({ description: 'Permission bits (07777).' }),
        sizeBytes: Type.Integer(),
        uid: Type.Integer(),
        gid: Type.Integer(),
        modifiedAt: nullable(Type.String({ format: 'date-time' })),
        linkTarget: nullable(Type.String()),
      }),
      { description: 'Directories first, then by name.' },
    ),
    truncated: Type.Boolean({ description: 'There are more; these are 10000 of them.' }),
  },
  { $id: 'Directory' },
)
export type DirectoryBody = Static<typeof DirectoryBody>

export const DirectoryQuery = Type.Object({ path: GuestPath('Absolute path in the guest.') }, closed)

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
