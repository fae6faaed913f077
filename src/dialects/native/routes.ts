/** The native dialect: everything the engine offers, under `/berth/v1`. */
import swagger from '@fastify/swagger'
import type { FastifyPluginAsync, FastifyRequest } from 'fastify'
import type { Readable } from 'node:stream'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { BerthError } from '../../instance/errors.ts'
import { bearerSecret, sendWireError } from '../dialect.ts'
import type { Dialect, DialectOptions } from '../dialect.ts'
import { decorateCaller, setCaller } from './app.ts'
import type { NativeApp } from './app.ts'
import { cookieName, sessionSecret } from './browser-session.ts'
import { buildLocalReference, documentHead, finishDocument } from './document.ts'
import { fromFramework, presentError } from './errors.ts'
import { readJson } from './json-body.ts'
import { accessRoutes } from './routes/access.ts'
import { auditRoutes } from './routes/audit.ts'
import { capacityRoutes } from './routes/capacity.ts'
import { catalogueRoutes } from './routes/catalogue.ts'
import { eventRoutes } from './routes/events.ts'
import { fileSystemRoutes } from './routes/file-systems.ts'
import { firewallRoutes } from './routes/firewalls.ts'
import { guestRoutes } from './routes/guest.ts'
import { hostRoutes } from './routes/host.ts'
import { imageRoutes } from './routes/images.ts'
import { instanceRoutes } from './routes/instances.ts'
import { marketRoutes } from './routes/market.ts'
import { marketQuoteRoutes } from './routes/market-quotes.ts'
import { observeRoutes } from './routes/observe.ts'
import { sessionRoutes } from './routes/session.ts'
import { snapshotRoutes } from './routes/snapshots.ts'
import { secretRoutes } from './routes/secrets.ts'
import { sshKeyRoutes } from './routes/ssh-keys.ts'
import { volumeRoutes } from './routes/volumes.ts'
import { COMPONENTS } from './schema/components.ts'
import { validatorCompiler } from './validation.ts'

export const PREFIX = '/berth/v1'
const NAME = 'native'

const GROUPS = [instanceRoutes, guestRoutes, observeRoutes, eventRoutes, imageRoutes, volumeRoutes, snapshotRoutes, fileSystemRoutes, firewallRoutes, accessRoutes, sshKeyRoutes, secretRoutes, auditRoutes, capacityRoutes, marketRoutes, marketQuoteRoutes, sessionRoutes, hostRoutes, catalogueRoutes]

const plugin: FastifyPluginAsync<DialectOptions> = async (root, options) => {
  await root.register(
    async (scoped) => {
      const app: NativeApp = scoped.withTypeProvider<TypeBoxTypeProvider>()
      readBodies(app)
      app.setValidatorCompiler(validatorCompiler)
      app.setSerializerCompiler(() => (data) => JSON.stringify(data))
      app.setErrorHandler((error, request, reply) => {
        const known = fromFramework(error)
        if (known.code === 'internal') request.log.error({ err: error }, 'a request failed')
        return sendWireError(reply, presentError(known))
      })
      app.setNotFoundHandler((request, reply) =>
        sendWireError(
          reply,
          presentError(new BerthError('not_found', `There is no ${request.method} ${pathOf(request.url)}; ${PREFIX}/openapi.json lists what there is.`)),
        ),
      )
      decorateCaller(app)
      const cookie = cookieName(options.stateDir)
      app.addHook('onRequest', async (request) => {
        if (request.routeOptions.config.open === true || request.is404) return
        setCaller(request, await authenticate(options, secretOf(request, options, cookie)))
      })
      for (const component of COMPONENTS) app.addSchema(component)
      await app.register(swagger, { openapi: documentHead(options.version), refResolver: { buildLocalReference } })
      let document: ReturnType<typeof app.swagger> | null = null
      app.get('/openapi.json', { config: { open: true }, schema: { hide: true } }, async () => document ??= finishDocument(app.swagger()))
      for (const add of GROUPS) add(app, options)
    },
    { prefix: root.prefix.endsWith(PREFIX) ? '' : PREFIX },
  )
}

export const native: Dialect = { name: NAME, prefix: PREFIX, plugin, presentError }

/** The key of the request, or of its session. An Authorization header, however wrong, is never overruled by a cookie. */
function secretOf(request: FastifyRequest, { sessions }: DialectOptions, cookie: string): string | null {
  return request.headers.authorization === undefined ? sessionSecret(request, sessions, cookie) : bearerSecret(request)
}

async function authenticate({ authenticate: ask }: DialectOptions, secret: string | null) {
  if (secret === null) {
    throw new BerthError('unauthenticated', 'This needs a key: send the header Authorization: Bearer KEY.')
  }
  const identity = await ask(secret, NAME)
  if (identity === null) throw new BerthError('unauthenticated', 'The key is not known here, or has expired; make one with berth keys create.')
  return identity
}

/** JSON is read strictly as UTF-8; every other type is passed on as a stream, for routes that take bytes: they get JSON so, too. */
function readBodies(app: NativeApp): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', async (request: FastifyRequest, payload: Readable) => (request.routeOptions.schema?.consumes === undefined ? readJson(payload) : payload))
  app.addContentTypeParser('*', (_request, payload, done) => done(null, payload))
}

function pathOf(url: string): string {
  return url.split('?')[0]?.slice(0, 200) ?? ''
}
