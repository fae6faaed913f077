/** `/berth/v1/instances/{instance}/…`: what happens inside of an instance. Logs, files, commands, figures. */
import { Readable } from 'node:stream'
import { Type } from 'typebox'
import type {} from '@fastify/websocket'
import type { WebSocket } from 'ws'
import type { CopyItem } from '../../../engine/host-port.ts'
import { BerthError } from '../../../instance/errors.ts'
import { quoteGo } from '../../../instance/go-text.ts'
import { bytesOf, callerOf } from '../app.ts'
import type { AddRoutes } from '../app.ts'
import { serveExec } from '../exec-socket.ts'
import { outputUntilExit } from '../output.ts'
import { presentLogRecord, presentPath, presentStats } from '../present.ts'
import { findInstance } from '../resolve.ts'
import { LogsQuery, ReadFilesQuery, StatQuery, WriteFilesQuery, WrittenBody } from '../schema/guest.ts'
import { InstanceParams } from '../schema/instance-requests.ts'
import { sendStream } from '../stream.ts'
import { MAX_TOLD_ERRORS, packTar, unpackTar } from '../tar.ts'
import type { CopyFailure } from '../tar.ts'

/** Trailer of a tar answer: percent-encoded JSON, the paths that could not be read. */
export const COPY_ERRORS_TRAILER = 'berth-copy-errors'

const params = InstanceParams
const tags = ['inside an instance']

export const guestRoutes: AddRoutes = (app, { engine, stopping, now }) => {
  app.get('/instances/:instance/logs', {
    schema: {
      tags,
      operationId: 'instanceLogs',
      summary: 'What the instance wrote',
      description:
        'NDJSON, or server-sent events with `Accept: text/event-stream`. With `untilExit` it begins when the instance starts and ends ' +
        'when all that the application wrote was told: nothing is lost of an application that ends at once.',
      produces: ['application/x-ndjson', 'text/event-stream'],
      params,
      querystring: LogsQuery,
      response: { 200: Type.Ref('LogRecord#') },
    },
    handler: async (request, reply) => {
      const caller = callerOf(request)
      const { source = 'app', tail = null, follow = false, untilExit = false } = request.query
      const { id } = await findInstance(engine, caller, request.params.instance)
      if (untilExit) {
        return sendStream(request, reply, stopping, async function* (signal) {
          for await (const record of outputUntilExit(engine, caller, id, { source, tail, signal })) {
            yield { data: presentLogRecord(record) }
          }
        })
      }
      const gone = new AbortController()
      const records = await engine.instances.logs(caller, id, { source, tail, follow, signal: gone.signal })
      return sendStream(request, reply, stopping, async function* (signal) {
        signal.addEventListener('abort', () => gone.abort(), { once: true })
        try {
          for await (const record of records) yield { data: presentLogRecord(record) }
        } finally {
          gone.abort()
        }
      })
    },
  })

  app.get('/instances/:instance/stats', {
    schema: { tags, operationId: 'instanceStats', summary: 'What the instance uses now', params, response: { 200: Type.Ref('Stats#') } },
    handler: async (request) => {
      const caller = callerOf(request)
      const { id } = await findInstance(engine, caller, request.params.instance)
      return presentStats(await engine.instances.stats(caller, id))
    },
  })

  app.get('/instances/:instance/stat', {
    schema: {
      tags,
      operationId: 'statPath',
      summary: 'What a path in the guest is',
      description: 'A path that is not there is no error: `exists` is false.',
      params,
      querystring: StatQuery,
      response: { 200: Type.Ref('Path#') },
    },
    handler: async (request) => {
      const caller = callerOf(request)
      const { path, followLinks = false } = request.query
      const { id } = await findInstance(engine, caller, request.params.instance)
      return presentPath(await engine.instances.stat(caller, id, path, { followLinks }))
    },
  })

  app.get('/instances/:instance/files', {
    schema: {
      tags,
      operationId: 'readFiles',
      summary: 'Read a file, or a tree as tar',
      description:
        'With `Accept: application/x-tar` the path as a tar whose names begin with its last part; the trailer `berth-copy-errors` ' +
        '(percent-encoded JSON) tells the paths that could not be read. Otherwise the bytes of one file.',
      produces: ['application/x-tar', 'application/octet-stream'],
      params,
      querystring: ReadFilesQuery,
      response: { 200: Type.Unsafe<Readable>(Type.String({ format: 'binary' })) },
    },
    handler: async (request, reply) => {
      const caller = callerOf(request)
      const { path } = request.query
      const { id } = await findInstance(engine, caller, request.params.instance)
      const wantsTar = request.headers.accept?.includes('application/x-tar') === true
      const followLinks = request.query.followLinks ?? !wantsTar
      const info = await engine.instances.stat(caller, id, path, { followLinks })
      if (!info.exists) throw new BerthError('guest_path', info.error ?? `There is no ${quoteGo(path)} in the instance.`)
      if (!wantsTar && info.kind !== 'file') {
        throw new BerthError('guest_path', `${quoteGo(path)} is no file; ask with Accept: application/x-tar for a directory.`)
      }
      const items = await engine.instances.copyOut(caller, id, path, { followLinks })
      if (!wantsTar) return reply.type('application/octet-stream').send(Readable.from(bytesOfFile(items, path), { objectMode: false }))
      const failures: CopyFailure[] = []
      let untold = 0
      const tar = packTar(items, baseName(path), (failure) => {
        if (failures.length < MAX_TOLD_ERRORS) failures.push(failure)
        else untold += 1
      })
      reply.trailer(COPY_ERRORS_TRAILER, async () => encodeURIComponent(JSON.stringify({ errors: failures, untold })))
      return reply.type('application/x-tar').send(tar)
    },
  })

  app.put('/instances/:instance/files', {
    schema: {
      tags,
      operationId: 'writeFiles',
      summary: 'Write a file, or unpack a tar',
      description:
        'With `Content-Type: application/x-tar` (or `application/gzip`) the tree is unpacked below `path`, which is made if it is not ' +
        'there. With any other type the body becomes the file `path`; `Content-Length` is needed. Each file arrives whole or not at all.',
      consumes: ['application/x-tar', 'application/gzip', 'application/octet-stream'],
      params,
      querystring: WriteFilesQuery,
      response: { 200: WrittenBody },
    },
    handler: async (request) => {
      const caller = callerOf(request)
      const { path, mode, uid, gid, keepOwner = false } = request.query
      const { id } = await findInstance(engine, caller, request.params.instance)
      const body = bytesOf(request)
      const type = request.headers['content-type']?.split(';')[0]?.trim().toLowerCase()
      if (type === 'application/x-tar' || type === 'application/gzip') {
        const info = await engine.instances.stat(caller, id, path, { followLinks: true })
        if (info.exists && info.kind !== 'directory') throw new BerthError('guest_path', `${quoteGo(path)} is no directory.`)
        const items = unpackTar(body, { gzip: type === 'application/gzip', keepOwner })
        return engine.instances.copyIn(caller, id, path, belowRoot(items, info.exists, now()))
      }
      const sizeBytes = Number(request.headers['content-length'])
      if (!Number.isSafeInteger(sizeBytes)) throw new BerthError('invalid_request', 'Say how many bytes the file has: send Content-Length.')
      const entry = {
        path: '',
        kind: 'file',
        mode: mode === undefined ? 0o644 : Number.parseInt(mode, 8),
        uid: uid ?? null,
        gid: gid ?? null,
        sizeBytes,
        mtimeSeconds: Math.floor(now() / 1000),
        linkTarget: null,
      } as const
      const items = async function* (): AsyncIterable<CopyItem> {
        yield { type: 'entry', entry }
        for await (const data of body) yield { type: 'data', data: data as Uint8Array }
      }
      return engine.instances.copyIn(caller, id, path, items())
    },
  })

  app.route({
    method: 'GET',
    url: '/instances/:instance/exec',
    schema: {
      tags,
      operationId: 'exec',
      summary: 'Run a command (WebSocket)',
      description: 'See “The exec protocol” below.',
      params,
    },
    // An instance that is not there is told before the upgrade, with a status.
    preHandler: async (request) => {
      await findInstance(engine, callerOf(request), request.params.instance)
    },
    handler: async () => {
      throw new BerthError('invalid_request', 'This is a WebSocket: ask with Upgrade: websocket.')
    },
    wsHandler: async (socket: WebSocket, request) => {
      const caller = callerOf(request)
      await serveExec(
        socket,
        async (start) => {
          const { id } = await findInstance(engine, caller, (request.params as { instance: string }).instance)
          return engine.instances.exec(
            caller,
            id,
            {
              command: start.command,
              env: start.env ?? {},
              workingDir: start.workingDir ?? null,
              user: start.user ?? null,
              tty: start.tty ?? null,
              timeoutMs: start.timeoutMs ?? null,
            },
            { wake: start.wake ?? false },
          )
        },
        stopping,
      )
    },
  })
}

/** `/a/b/` → `b`; the root is `.`. */
function baseName(path: string): string {
  return path.split('/').filter((part) => part !== '' && part !== '.').at(-1) ?? '.'
}

async function* bytesOfFile(items: AsyncIterable<CopyItem>, path: string): AsyncIterable<Uint8Array> {
  for await (const item of items) {
    if (item.type === 'data') yield item.data
    if (item.type === 'error') throw new BerthError('guest_path', `${quoteGo(path)} can't be read: ${item.message}.`)
  }
}

/** The tree for a root: one that is there keeps its mode and owner; one that isn't is made. */
async function* belowRoot(items: AsyncIterable<CopyItem>, rootExists: boolean, now: number): AsyncIterable<CopyItem> {
  let isFirst = true
  for await (const item of items) {
    const isRoot = item.type === 'entry' && item.entry.path === '' && item.entry.kind === 'directory'
    if (isFirst && !rootExists && !isRoot) {
      const entry = { path: '', kind: 'directory', mode: 0o755, uid: null, gid: null, sizeBytes: 0, mtimeSeconds: Math.floor(now / 1000), linkTarget: null } as const
      yield { type: 'entry', entry }
    }
    isFirst = false
    if (!(isRoot && rootExists)) yield item
  }
}
