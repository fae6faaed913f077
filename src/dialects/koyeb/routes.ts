/** The Koyeb dialect: its Instances API, and what its CLI, SDKs and console call on the way. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Dialect, DialectOptions } from '../dialect.ts'
import { presentError } from './errors.ts'
import { execOverHttp } from './exec-http.ts'
import { serveExec } from './exec.ts'
import { getInstance, listInstanceEvents, listInstances } from './instances.ts'
import type { Surface } from './surface.ts'
import { DIALECT, installSurface } from './surface.ts'

type Handler = (surface: Surface, request: FastifyRequest, reply: FastifyReply) => Promise<unknown>

async function koyebRoutes(app: FastifyInstance, options: DialectOptions): Promise<void> {
  const surface: Surface = { engine: options.engine, options, catalogue: options.catalogue }
  installSurface(app, options)
  const get = (url: string, handler: Handler) => app.get(url, (request, reply) => handler(surface, request, reply))

  // A published capability of this API exposes the same four under other paths.
  for (const [instances, events, exec] of [
    ['/instances', '/instance_events', '/streams/instances/exec'],
    ['/v1/instances', '/v1/instance-events', '/v1/streams/instances/exec'],
  ] as const) {
    get(instances, listInstances)
    get(`${instances}/:id`, getInstance)
    get(events, listInstanceEvents)
    app.route({
      method: 'GET',
      url: exec,
      exposeHeadRoute: false,
      handler: (request, reply) => execOverHttp(surface, request, reply),
      // serveExec tells its own failures; nothing is left to be told here.
      wsHandler: (socket, request) => void serveExec(surface, socket, request),
    })
  }
}

export const koyebDialect: Dialect = { name: DIALECT, prefix: '/v1', plugin: koyebRoutes, presentError }
