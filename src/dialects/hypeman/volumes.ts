/** Volumes: create (empty, or filled from a tar.gz), list, get, delete. Found by id, then by name. */
import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { CreateVolume } from '../../engine/api.ts'
import { BerthError } from '../../instance/errors.ts'
import { parseVolumeId } from '../../instance/ids.ts'
import type { Volume } from '../../instance/model.ts'
import { acceptTags, acceptVolumeSize } from './accept.ts'
import { readerOf, requiredBody } from './body.ts'
import { resourceAmbiguous, resourceNotFound, wireError } from './errors.ts'
import { presentVolume } from './present.ts'
import { queryTags, queryText } from './query.ts'
import * as wire from './schema.ts'
import type { Surface } from './surface.ts'
import { callerOf, pathParameter } from './surface.ts'
import { readVolumeForm } from './volume-form.ts'

const readCreate = readerOf(wire.CreateVolumeRequest)

export async function listVolumes(surface: Surface, request: FastifyRequest): Promise<readonly wire.Volume[]> {
  const tags = queryTags(request)
  const volumes = await surface.engine.volumes.list(callerOf(request), Object.keys(tags).length === 0 ? {} : { tags })
  return volumes.map(presentVolume)
}

export async function createVolume(surface: Surface, request: FastifyRequest, reply: FastifyReply): Promise<wire.Volume> {
  const isForm = /^multipart\/form-data\b/i.test(request.headers['content-type'] ?? '')
  if (isForm && request.body instanceof Readable) {
    const form = await readVolumeForm(request.headers, request.body)
    return create(surface, request, reply, form.fields, form.content)
  }
  return create(surface, request, reply, requiredBody(request, readCreate), null)
}

/** The newer way to fill a volume: the archive is the body, the rest is in the query. */
export async function createVolumeFromArchive(surface: Surface, request: FastifyRequest, reply: FastifyReply): Promise<wire.Volume> {
  const name = queryText(request, 'name')
  const sizeGb = queryText(request, 'size_gb')
  const id = queryText(request, 'id')
  if (name === null || name === '') throw missing('name')
  if (sizeGb === null || sizeGb === '') throw missing('size_gb')
  if (!(request.body instanceof Readable)) {
    throw wireError('invalid_request', 'missing_file', 'the body must be a gzip-compressed tar archive, sent as application/gzip')
  }
  const fields = readCreate(
    { name, size_gb: /^\d{1,9}$/.test(sizeGb) ? Number(sizeGb) : sizeGb, id: id === '' ? null : id, tags: queryTags(request) },
    'query',
  )
  return create(surface, request, reply, fields, request.body)
}

export async function getVolume(surface: Surface, request: FastifyRequest): Promise<wire.Volume> {
  return presentVolume(await volumeOf(surface, request))
}

export async function deleteVolume(surface: Surface, request: FastifyRequest, reply: FastifyReply): Promise<null> {
  const volume = await volumeOf(surface, request)
  await surface.engine.volumes.delete(callerOf(request), volume.id)
  reply.code(204)
  return null
}

async function create(
  surface: Surface,
  request: FastifyRequest,
  reply: FastifyReply,
  fields: wire.CreateVolumeRequest,
  archive: AsyncIterable<Uint8Array> | null,
): Promise<wire.Volume> {
  const tags = acceptTags(fields.tags)
  const wish: CreateVolume = {
    name: fields.name,
    sizeBytes: acceptVolumeSize(fields.size_gb),
    tags,
    ...(fields.id === undefined ? {} : { id: parseVolumeId(fields.id) }),
    ...(archive === null ? {} : { archive: whole(archive) }),
  }
  const volume = await surface.engine.volumes.create(callerOf(request), wish)
  reply.code(201)
  return presentVolume(volume)
}

/** The archive's bytes; a connection that broke is told as that, and not as a defect of whoever reads them. */
async function* whole(archive: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* archive
  } catch (error) {
    throw new BerthError('cancelled', 'the upload ended before the archive was complete', { cause: error })
  }
}

async function volumeOf(surface: Surface, request: FastifyRequest): Promise<Volume> {
  const caller = callerOf(request)
  const text = pathParameter(request, 'id')
  try {
    return await surface.engine.volumes.get(caller, parseVolumeId(text))
  } catch (error) {
    const isMissing = error instanceof BerthError && (error.code === 'volume_not_found' || error.code === 'not_found')
    if (!isMissing) throw error
  }
  const named = await surface.engine.volumes.list(caller, { name: text })
  if (named.length > 1) throw resourceAmbiguous()
  if (named[0] === undefined) throw resourceNotFound()
  return named[0]
}

function missing(field: string): BerthError {
  return wireError('invalid_request', 'missing_field', `${field} is required`)
}
