/** `/berth/v1/ssh-keys`: public keys that instances can be entered with. */
import { Type } from 'typebox'
import { callerOf } from '../app.ts'
import type { AddRoutes } from '../app.ts'
import { pageOf } from '../page.ts'
import { presentSshKey } from '../present.ts'
import { findSshKey } from '../resolve.ts'
import { page, PageQuery } from '../schema/page.ts'
import { CreateSshKeyBody, NewSshKeyBody, SshKeyParams } from '../schema/ssh-keys.ts'

const tags = ['ssh-keys']

export const sshKeyRoutes: AddRoutes = (app, { engine }) => {
  app.post('/ssh-keys', {
    schema: {
      tags,
      operationId: 'createSshKey',
      summary: 'Keep a public key, or make a pair',
      description: 'The private part of a pair that is made is told now and kept nowhere.',
      body: CreateSshKeyBody,
      response: { 201: NewSshKeyBody },
    },
    handler: async (request, reply) => {
      const made = await engine.sshKeys.create(callerOf(request), request.body)
      return reply.code(201).send({ key: presentSshKey(made.key), privateKey: made.privateKey })
    },
  })

  app.get('/ssh-keys', {
    schema: { tags, operationId: 'listSshKeys', summary: 'List SSH keys', querystring: PageQuery, response: { 200: page(Type.Ref('SshKey#')) } },
    handler: async (request) => {
      const { items, next } = pageOf(await engine.sshKeys.list(callerOf(request)), request.query, ({ createdAt, id }) => [createdAt, id])
      return { items: items.map(presentSshKey), next }
    },
  })

  app.delete('/ssh-keys/:key', {
    schema: {
      tags,
      operationId: 'deleteSshKey',
      summary: 'Delete an SSH key',
      description: 'Instances that have it keep it.',
      params: SshKeyParams,
      response: { 204: Type.Null() },
    },
    handler: async (request, reply) => {
      const caller = callerOf(request)
      const { id } = await findSshKey(engine, caller, request.params.key)
      await engine.sshKeys.delete(caller, id)
      return reply.code(204).send(null)
    },
  })
}
