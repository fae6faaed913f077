/** `/berth/v1/images`: what instances are made from. */
import { setTimeout as pause } from 'node:timers/promises'
import { Type } from 'typebox'
import type { Image } from '../../../instance/model.ts'
import { bytesOf, callerOf } from '../app.ts'
import type { AddRoutes } from '../app.ts'
import { pageOf } from '../page.ts'
import { presentImage } from '../present.ts'
import { ImageParams, ImageWaitQuery, ImportImageQuery, PullImageBody, TagImageBody } from '../schema/images.ts'
import { DEFAULT_WAIT_MS, page, PageQuery } from '../schema/page.ts'
import { clientSignal, sendStream } from '../stream.ts'

/** How often a record is looked at for news of its pull. */
const PROGRESS_POLL_MS = 200

const tags = ['images']
const ImageRef = Type.Ref('Image#')

export const imageRoutes: AddRoutes = (app, { engine, stopping }) => {
  app.post('/images', {
    schema: {
      tags,
      operationId: 'pullImage',
      summary: 'Pull an image',
      description: 'Queues the pull and answers at once; an image that is there is answered as it is, a failed one is tried again.',
      body: PullImageBody,
      response: { 202: ImageRef },
    },
    handler: async (request, reply) => reply.code(202).send(presentImage(await engine.images.pull(callerOf(request), request.body))),
  })

  app.post('/images/import', {
    schema: {
      tags,
      operationId: 'importImage',
      summary: 'Import an image from an archive',
      description: 'The body is an OCI archive or a `docker save` tar, as `application/x-tar`.',
      consumes: ['application/x-tar', 'application/octet-stream'],
      querystring: ImportImageQuery,
      response: { 201: ImageRef },
    },
    handler: async (request, reply) => {
      const image = await engine.images.import(callerOf(request), request.query.name, bytesOf(request))
      return reply.code(201).send(presentImage(image))
    },
  })

  app.get('/images', {
    schema: { tags, operationId: 'listImages', summary: 'List images', querystring: PageQuery, response: { 200: page(ImageRef) } },
    handler: async (request) => {
      const all = [...(await engine.images.list(callerOf(request)))].sort((a, b) => (a.name < b.name ? -1 : 1))
      const { items, next } = pageOf(all, request.query, ({ name }) => [name, name])
      return { items: items.map(presentImage), next }
    },
  })

  app.get('/images/:name', {
    schema: {
      tags,
      operationId: 'getImage',
      summary: 'One image',
      description: 'By any spelling of its name, or by `name@digest`.',
      params: ImageParams,
      response: { 200: ImageRef },
    },
    handler: async (request) => presentImage(await engine.images.get(callerOf(request), request.params.name)),
  })

  app.get('/images/:name/wait', {
    schema: {
      tags,
      operationId: 'waitImage',
      summary: 'Wait until an image is ready or has failed',
      params: ImageParams,
      querystring: ImageWaitQuery,
      response: { 200: ImageRef },
    },
    handler: async (request, reply) => {
      const timeoutMs = request.query.timeoutMs ?? DEFAULT_WAIT_MS
      const signal = clientSignal(reply, stopping)
      return presentImage(await engine.images.wait(callerOf(request), request.params.name, { timeoutMs, signal }))
    },
  })

  app.get('/images/:name/progress', {
    schema: {
      tags,
      operationId: 'imageProgress',
      summary: 'The record each time it changes, until it is ready or failed',
      description: 'NDJSON, or server-sent events with `Accept: text/event-stream`.',
      produces: ['application/x-ndjson', 'text/event-stream'],
      params: ImageParams,
      response: { 200: ImageRef },
    },
    handler: async (request, reply) => {
      const caller = callerOf(request)
      const { name } = request.params
      const first = await engine.images.get(caller, name)
      return sendStream(request, reply, stopping, async function* (signal) {
        let told = ''
        for (let image: Image = first; ; image = await engine.images.get(caller, name)) {
          const data = presentImage(image)
          const now = JSON.stringify(data)
          if (now !== told) yield { event: 'image', data }
          told = now
          if (image.status === 'ready' || image.status === 'failed') return
          await pause(PROGRESS_POLL_MS, undefined, { signal }).catch(() => undefined)
          if (signal.aborted) return
        }
      })
    },
  })

  app.post('/images/:name/tag', {
    schema: {
      tags,
      operationId: 'tagImage',
      summary: 'Give an image another name',
      params: ImageParams,
      body: TagImageBody,
      response: { 201: ImageRef },
    },
    handler: async (request, reply) =>
      reply.code(201).send(presentImage(await engine.images.tag(callerOf(request), request.params.name, request.body.target))),
  })

  app.delete('/images/:name', {
    schema: {
      tags,
      operationId: 'deleteImage',
      summary: 'Delete an image',
      description: '`image_in_use` while an instance needs it.',
      params: ImageParams,
      response: { 204: Type.Null() },
    },
    handler: async (request, reply) => {
      await engine.images.delete(callerOf(request), request.params.name)
      return reply.code(204).send(null)
    },
  })
}
