/** `/berth/v1/stats/watch`, and of one instance its history and its directories: what a person looks at. */
import { Type } from 'typebox'
import { callerOf } from '../app.ts'
import type { AddRoutes } from '../app.ts'
import { presentDirectory, presentStats, presentStatsSample } from '../present.ts'
import { findInstance } from '../resolve.ts'
import { DirectoryQuery, StatsHistoryBody, WatchStatsQuery } from '../schema/guest.ts'
import { InstanceParams } from '../schema/instance-requests.ts'
import { sendStream } from '../stream.ts'

const tags = ['inside an instance']

export const observeRoutes: AddRoutes = (app, { engine, stopping }) => {
  app.get('/stats/watch', {
    schema: {
      tags,
      operationId: 'watchStats',
      summary: 'What instances use, as it changes',
      description:
        'Server-sent events with `Accept: text/event-stream`, otherwise NDJSON: a sample of each instance at once, then one every two ' +
        'seconds. They are measured only while somebody watches. One that does not run is quiet meanwhile.',
      produces: ['text/event-stream', 'application/x-ndjson'],
      querystring: WatchStatsQuery,
      response: { 200: Type.Ref('StatsSample#') },
    },
    handler: async (request, reply) => {
      const caller = callerOf(request)
      const ids = await Promise.all(request.query.instance.map(async word => (await findInstance(engine, caller, word)).id))
      const gone = new AbortController()
      const samples = await engine.statsFeed.watch(caller, ids, gone.signal)
      return sendStream(request, reply, stopping, async function* (signal) {
        signal.addEventListener('abort', () => gone.abort(), { once: true })
        try {
          for await (const sample of samples) yield { event: 'stats', data: presentStatsSample(sample) }
        } finally {
          gone.abort()
        }
      })
    },
  })

  app.get('/instances/:instance/stats/history', {
    schema: {
      tags,
      operationId: 'instanceStatsHistory',
      summary: 'What the instance used over the last three hours',
      description: 'A sample each half minute, oldest first, kept in memory: a new server begins anew. The last one is of now if it runs.',
      params: InstanceParams,
      response: { 200: StatsHistoryBody },
    },
    handler: async request => {
      const caller = callerOf(request)
      const { id } = await findInstance(engine, caller, request.params.instance)
      return { items: (await engine.instances.statsHistory(caller, id)).map(presentStats) }
    },
  })

  app.get('/instances/:instance/directory', {
    schema: {
      tags,
      operationId: 'readDirectory',
      summary: 'What stands in a directory',
      description: 'Names and what they are, without going into them and without a program in the image.',
      params: InstanceParams,
      querystring: DirectoryQuery,
      response: { 200: Type.Ref('Directory#') },
    },
    handler: async request => {
      const caller = callerOf(request)
      const { path } = request.query
      const { id } = await findInstance(engine, caller, request.params.instance)
      return presentDirectory(path, await engine.instances.readDirectory(caller, id, path))
    },
  })
}
