/** `/berth/v1/volumes`: disks that outlive instances. */
import { createGzip } from 'node:zlib'
import { Type } from 'typebox'
import { acceptTagFilter } from '../accept.ts'
import { bytesOf, callerOf } from '../app.ts'
import type { AddRoutes } from '../app.ts'
import { pageOf } from '../page.ts'
import { presentVolume } from '../present.ts'
import { findVolume } from '../resolve.ts'
import { page } from '../schema/page.ts'
import { CreateVolumeBody, ListVolumesQuery, VolumeArchiveQuery, VolumeParams } from '../schema/volumes.ts'

const tags = ['volumes']
const VolumeRef = Type.Ref('Volume#')

export const volumeRoutes: AddRoutes = (app, { engine }) => {
  app.post('/volumes', {
    schema: { tags, operationId: 'createVolume', summary: 'Make an empty volume', body: CreateVolumeBody, response: { 201: VolumeRef } },
    handler: async (request, reply) => reply.code(201).send(presentVolume(await engine.volumes.create(callerOf(request), request.body))),
  })

  app.post('/volumes/from-archive', {
    schema: {
      tags,
      operationId: 'createVolumeFromArchive',
      summary: 'Make a volume that holds a tree',
      description: 'The body is a tar as `application/x-tar`, or a tar.gz as `application/gzip`.',
      consumes: ['application/gzip', 'application/x-tar'],
      querystring: VolumeArchiveQuery,
      response: { 201: VolumeRef },
    },
    handler: async (request, reply) => {
      const { tag, ...volume } = request.query
      const body = bytesOf(request)
      const archive = request.headers['content-type']?.startsWith('application/x-tar') === true ? body.pipe(createGzip()) : body
      const wanted = acceptTagFilter(tag)
      const made = await engine.volumes.create(callerOf(request), { ...volume, archive, ...(wanted === null ? {} : { tags: wanted }) })
      return reply.code(201).send(presentVolume(made))
    },
  })

  app.get('/volumes', {
    schema: { tags, operationId: 'listVolumes', summary: 'List volumes', querystring: ListVolumesQuery, response: { 200: page(VolumeRef) } },
    handler: async (request) => {
      const { name, tag, limit, cursor } = request.query
      const wanted = acceptTagFilter(tag)
      const found = await engine.volumes.list(callerOf(request), {
        ...(name === undefined ? {} : { name }),
        ...(wanted === null ? {} : { tags: wanted }),
      })
      const all = [...found].sort((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1))
      const { items, next } = pageOf(all, { limit, cursor }, ({ createdAt, id }) => [createdAt, id])
      return { items: items.map(presentVolume), next }
    },
  })

  app.get('/volumes/:volume', {
    schema: { tags, operationId: 'getVolume', summary: 'One volume', params: VolumeParams, response: { 200: VolumeRef } },
    handler: async (request) => presentVolume(await findVolume(engine, callerOf(request), request.params.volume)),
  })

  app.delete('/volumes/:volume', {
    schema: {
      tags,
      operationId: 'deleteVolume',
      summary: 'Delete a volume and what it holds',
      description: '`volume_in_use` while an instance has it.',
      params: VolumeParams,
      response: { 204: Type.Null() },
    },
    handler: async (request, reply) => {
      const caller = callerOf(request)
      const { id } = await findVolume(engine, caller, request.params.volume)
      await engine.volumes.delete(caller, id)
      return reply.code(204).send(null)
    },
  })
}
