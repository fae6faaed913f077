/** Shared file systems: listed under one path, made and deleted under another, as the original has it. */
import type { FastifyRequest } from 'fastify'
import type { FileSystemView } from '../../engine/file-systems.ts'
import { BerthError } from '../../instance/errors.ts'
import { parseId, spellId } from '../../instance/ids.ts'
import type { FileSystemId } from '../../instance/model.ts'
import { quoted, readBody, requiredText } from './body.ts'
import { fieldError, objectMissing, wordedError } from './errors.ts'
import { defaultMountPoint, findRegion } from './launch-names.ts'
import { presentRegionOf } from './present.ts'
import type * as wire from './schema.ts'
import type { Surface } from './surface.ts'
import { callerOf, DIALECT, pathId } from './surface.ts'
import { timestamp } from './timestamp.ts'

const NAME = /^[a-zA-Z]+[0-9a-zA-Z-]*$/
const NAME_LIMIT_CHARACTERS = 60
export async function listFileSystems(surface: Surface, request: FastifyRequest): Promise<readonly wire.FileSystem[]> {
  return (await surface.engine.fileSystems.list(callerOf(request))).map(one => present(surface, one))
}

export async function createFileSystem(surface: Surface, request: FastifyRequest): Promise<wire.FileSystem> {
  const caller = callerOf(request)
  const body = readBody(request)
  const name = requiredText('name', body['name'])
  if (name.length > NAME_LIMIT_CHARACTERS || !NAME.test(name)) {
    throw fieldError('name', `${quoted(name)} is not a name: 1 to ${NAME_LIMIT_CHARACTERS} letters, digits and dashes, a letter first`)
  }
  const region = findRegion(surface, requiredText('region', body['region']))
  try {
    return present(surface, await surface.engine.fileSystems.create(caller, { name, region: region.id }))
  } catch (error) {
    if (error instanceof BerthError && error.code === 'name_conflict') throw wordedError('duplicate', error.message, error)
    throw error
  }
}

export async function deleteFileSystem(surface: Surface, request: FastifyRequest): Promise<{ readonly deleted_ids: readonly string[] }> {
  const caller = callerOf(request)
  const id = parseId('fileSystem', DIALECT, pathId(request))
  if (id === null) throw fileSystemMissing()
  try {
    await surface.engine.fileSystems.delete(caller, id)
  } catch (error) {
    if (!(error instanceof BerthError)) throw error
    if (error.code === 'volume_not_found') throw fileSystemMissing(error)
    if (error.code === 'volume_in_use') throw wordedError('fileSystemInUse', error.message, error)
    throw error
  }
  return { deleted_ids: [spellFileSystemId(id)] }
}

export function spellFileSystemId(id: FileSystemId): string {
  return spellId('fileSystem', DIALECT, id)
}

function fileSystemMissing(cause?: unknown): BerthError {
  return objectMissing('Filesystem was not found.', 'See GET /api/v1/file-systems.', cause)
}

function present(surface: Surface, one: FileSystemView): wire.FileSystem {
  return {
    id: spellFileSystemId(one.id),
    name: one.name,
    mount_point: defaultMountPoint(one.name),
    created: timestamp(one.createdAt),
    // There are keys here, and no users with addresses.
    created_by: { id: (one.createdBy ?? one.projectId).replaceAll('-', ''), email: 'berth@localhost', status: 'active' },
    is_in_use: one.instanceIds.length > 0,
    region: presentRegionOf(surface.catalogue, one.region),
    bytes_used: one.usedBytes,
  }
}
