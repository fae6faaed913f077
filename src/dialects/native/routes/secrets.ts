/** `/berth/v1/secrets`: values for instances, written and never read. */
import { Type } from 'typebox'
import { callerOf } from '../app.ts'
import type { AddRoutes } from '../app.ts'
import { pageOf } from '../page.ts'
import { presentSecret } from '../present.ts'
import { page, PageQuery } from '../schema/page.ts'
import { SecretParams, SetSecretBody } from '../schema/secrets.ts'

const tags = ['secrets']

export const secretRoutes: AddRoutes = (app, { engine }) => {
  app.put('/secrets/:secret', {
    schema: {
      tags,
      operationId: 'setSecret',
      summary: 'Make a secret, or replace its value',
      description: 'Instances get a new value with their next start.',
      params: SecretParams,
      body: SetSecretBody,
      response: { 200: Type.Ref('Secret#') },
    },
    handler: async (request) => presentSecret(await engine.secrets.set(callerOf(request), request.params.secret, request.body.value)),
  })

  app.get('/secrets', {
    schema: { tags, operationId: 'listSecrets', summary: 'List secrets', description: 'Never their values.', querystring: PageQuery, response: { 200: page(Type.Ref('Secret#')) } },
    handler: async (request) => {
      const { items, next } = pageOf(await engine.secrets.list(callerOf(request)), request.query, ({ name }) => [name, name])
      return { items: items.map(presentSecret), next }
    },
  })

  app.delete('/secrets/:secret', {
    schema: { tags, operationId: 'deleteSecret', summary: 'Delete a secret', description: 'Refused while an instance has it.', params: SecretParams, response: { 204: Type.Null() } },
    handler: async (request, reply) => {
      await engine.secrets.delete(callerOf(request), request.params.secret)
      return reply.code(204).send(null)
    },
  })
}
