/** `/berth/v1/file-systems`: files that several instances share. */
import { Type } from 'typebox'
import type { FileSystemView } from '../../../engine/file-systems.ts'
import { acceptRegion } from '../accept.ts'
import { callerOf } from '../app.ts'
import type { AddRoutes } from '../app.ts'
import { pageOf } from '../page.ts'
import { presentInstance, presentTime } from '../present.ts'
import { findFileSystem, findInstance } from '../resolve.ts'
import { CreateFileSystemBody, FileSystemMountRequest, FileSystemParams, InstanceFileSystemParams, ResizeFileSystemBody } from '../schema/file-systems.ts'
import type { FileSystemBody } from '../schema/file-systems.ts'
import { InstanceParams } from '../schema/instance-requests.ts'
import { page, PageQuery } from '../schema/page.ts'

const tags = ['file systems']
const FileSystemRef = Type.Ref('FileSystem#')

export const fileSystemRoutes: AddRoutes = (app, { engine, catalogue }) => {
  app.post('/file-systems', {
    schema: {
      tags,
      operationId: 'createFileSystem',
      summary: 'Make a shared file system',
      description: 'Instances mount it over NFS, several at once. `not_supported`, with the reason, where the host can serve none.',
      body: CreateFileSystemBody,
      response: { 201: FileSystemRef },
    },
    handler: async (request, reply) => {
      const { region, ...wish } = request.body
      return reply.code(201).send(presentFileSystem(await engine.fileSystems.create(callerOf(request), { ...wish, region: acceptRegion(region, catalogue).id })))
    },
  })

  app.get('/file-systems', {
    schema: { tags, operationId: 'listFileSystems', summary: 'List shared file systems', querystring: PageQuery, response: { 200: page(FileSystemRef) } },
    handler: async (request) => {
      const { items, next } = pageOf(await engine.fileSystems.list(callerOf(request)), request.query, ({ createdAt, id }) => [createdAt, id])
      return { items: items.map(presentFileSystem), next }
    },
  })

  app.get('/file-systems/:fileSystem', {
    schema: { tags, operationId: 'getFileSystem', summary: 'One shared file system', params: FileSystemParams, response: { 200: FileSystemRef } },
    handler: async (request) => presentFileSystem(await findFileSystem(engine, callerOf(request), request.params.fileSystem)),
  })

  app.patch('/file-systems/:fileSystem', {
    schema: {
      tags,
      operationId: 'resizeFileSystem',
      summary: 'Make a shared file system larger',
      description: 'While instances have it, too: their programs wait until it is done.',
      params: FileSystemParams,
      body: ResizeFileSystemBody,
      response: { 200: FileSystemRef },
    },
    handler: async (request) => {
      const caller = callerOf(request)
      const { id } = await findFileSystem(engine, caller, request.params.fileSystem)
      return presentFileSystem(await engine.fileSystems.resize(caller, id, request.body.sizeBytes))
    },
  })

  app.delete('/file-systems/:fileSystem', {
    schema: {
      tags,
      operationId: 'deleteFileSystem',
      summary: 'Delete a shared file system and what it holds',
      description: '`volume_in_use` while an instance has it.',
      params: FileSystemParams,
      response: { 204: Type.Null() },
    },
    handler: async (request, reply) => {
      const caller = callerOf(request)
      const { id } = await findFileSystem(engine, caller, request.params.fileSystem)
      await engine.fileSystems.delete(caller, id)
      return reply.code(204).send(null)
    },
  })

  app.post('/instances/:instance/file-systems', {
    schema: {
      tags,
      operationId: 'attachFileSystem',
      summary: 'Mount a shared file system in an instance, in a running one too',
      params: InstanceParams,
      body: FileSystemMountRequest,
      response: { 200: Type.Ref('Instance#') },
    },
    handler: async (request) => {
      const caller = callerOf(request)
      const { id } = await findInstance(engine, caller, request.params.instance)
      const { fileSystem, path } = request.body
      const { id: fileSystemId } = await findFileSystem(engine, caller, fileSystem)
      return presentInstance(await engine.fileSystems.attach(caller, id, { fileSystemId, path }))
    },
  })

  app.delete('/instances/:instance/file-systems/:fileSystem', {
    schema: {
      tags,
      operationId: 'detachFileSystem',
      summary: 'Unmount a shared file system',
      description: '`volume_in_use` while a program of the instance holds files open in it.',
      params: InstanceFileSystemParams,
      response: { 200: Type.Ref('Instance#') },
    },
    handler: async (request) => {
      const caller = callerOf(request)
      const { id } = await findInstance(engine, caller, request.params.instance)
      const { id: fileSystemId } = await findFileSystem(engine, caller, request.params.fileSystem)
      return presentInstance(await engine.fileSystems.detach(caller, id, fileSystemId))
    },
  })
}

function presentFileSystem({ id, projectId, name, region, sizeBytes, usedBytes, instanceIds, createdAt, createdBy }: FileSystemView): FileSystemBody {
  return { id, projectId, name, region, sizeBytes, usedBytes, instanceIds: [...instanceIds], createdAt: presentTime(createdAt), createdBy }
}
