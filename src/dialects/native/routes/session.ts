/** `/berth/v1/session`: a browser signs in with a key, and out. */
import { Type } from 'typebox'
import { BerthError } from '../../../instance/errors.ts'
import type { AddRoutes } from '../app.ts'
import { checkOwnOrigin, cookieName, dropCookie, keepCookie, sessionToken } from '../browser-session.ts'
import { presentTime } from '../present.ts'

const tags = ['browser sessions']
const KEY_LIMIT_CHARACTERS = 512

const SignInBody = Type.Object(
  { key: Type.String({ minLength: 1, maxLength: KEY_LIMIT_CHARACTERS, description: 'An API key.' }) },
  { additionalProperties: false },
)
const SessionBody = Type.Object({ expiresAt: Type.String({ format: 'date-time', description: 'When the session ends.' }) })

export const sessionRoutes: AddRoutes = (app, { sessions, stateDir, now }) => {
  const name = cookieName(stateDir)

  app.post('/session', {
    config: { open: true },
    schema: {
      tags,
      operationId: 'signIn',
      summary: 'Exchange a key for a session cookie',
      description:
        'For browsers: the cookie is HttpOnly and SameSite=Strict, counts on these paths only, and only for requests of this very origin that ' +
        'carry the header `X-Berth-Session` (this one too). It is worth what the key is worth, and ends with it, or after seven days. ' +
        'Ten refused keys within a minute are `rate_limited`.',
      security: [],
      body: SignInBody,
      response: { 201: SessionBody },
    },
    handler: async (request, reply) => {
      if (sessions === undefined) throw new BerthError('not_supported', 'This server keeps no sessions; send the key with each request.')
      checkOwnOrigin(request)
      const { token, expiresAt } = await sessions.open(request.body.key, request.ip)
      const before = sessionToken(request, name)
      if (before !== null) sessions.close(before)
      reply.header('set-cookie', keepCookie(request, name, token, Math.floor((expiresAt - now()) / 1000)))
      return reply.code(201).send({ expiresAt: presentTime(expiresAt) })
    },
  })

  app.delete('/session', {
    config: { open: true },
    schema: { tags, operationId: 'signOut', summary: 'End the session', security: [], response: { 204: Type.Null() } },
    handler: async (request, reply) => {
      checkOwnOrigin(request)
      const token = sessionToken(request, name)
      if (token !== null) sessions?.close(token)
      reply.header('set-cookie', dropCookie(request, name))
      return reply.code(204).send(null)
    },
  })
}
