/** `/berth/v1/keys`, `/projects` and `/whoami`: who may do what. */
import { Type } from 'typebox'
import { BerthError } from '../../../instance/errors.ts'
import { acceptTime } from '../accept.ts'
import { callerOf } from '../app.ts'
import type { AddRoutes } from '../app.ts'
import { pageOf } from '../page.ts'
import { presentKey, presentProject } from '../present.ts'
import { findKey, findProject } from '../resolve.ts'
import { CreateKeyBody, CreateProjectBody, KeyParams, NewKeyBody, ProjectParams, UpdateProjectBody, WhoamiBody } from '../schema/access.ts'
import { page, PageQuery } from '../schema/page.ts'

const KeyRef = Type.Ref('Key#')
const ProjectRef = Type.Ref('Project#')

export const accessRoutes: AddRoutes = (app, { engine }) => {
  app.get('/whoami', {
    schema: { tags: ['keys'], operationId: 'whoami', summary: 'Whom the key stands for', response: { 200: WhoamiBody } },
    handler: async (request) => {
      const caller = callerOf(request)
      const name = await engine.projects.get(caller, caller.projectId).then(
        (project) => project.name,
        (error: unknown) => {
          // A key without the scope to read projects still may know itself.
          if (error instanceof BerthError) return null
          throw error
        },
      )
      return { projectId: caller.projectId, projectName: name, keyId: caller.keyId, scopes: [...caller.scopes] }
    },
  })

  app.post('/keys', {
    schema: {
      tags: ['keys'],
      operationId: 'createKey',
      summary: 'Make a key',
      description: 'The secret is told now and never again.',
      body: CreateKeyBody,
      response: { 201: NewKeyBody },
    },
    handler: async (request, reply) => {
      const caller = callerOf(request)
      const { name, scopes, audience, projectId, expiresAt } = request.body
      const made = await engine.keys.create(caller, {
        name,
        scopes,
        ...(audience === undefined ? {} : { audience }),
        ...(projectId === undefined ? {} : { projectId: (await findProject(engine, caller, projectId)).id }),
        ...(expiresAt === undefined ? {} : { expiresAt: acceptTime('expiresAt', expiresAt) }),
      })
      return reply.code(201).send({ key: presentKey(made.key), secret: made.secret })
    },
  })

  app.get('/keys', {
    schema: { tags: ['keys'], operationId: 'listKeys', summary: 'List keys', querystring: PageQuery, response: { 200: page(KeyRef) } },
    handler: async (request) => {
      const all = [...(await engine.keys.list(callerOf(request)))].sort((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1))
      const { items, next } = pageOf(all, request.query, ({ createdAt, id }) => [createdAt, id])
      return { items: items.map(presentKey), next }
    },
  })

  app.delete('/keys/:key', {
    schema: { tags: ['keys'], operationId: 'deleteKey', summary: 'Delete a key', params: KeyParams, response: { 204: Type.Null() } },
    handler: async (request, reply) => {
      const caller = callerOf(request)
      const { id } = await findKey(engine, caller, request.params.key)
      await engine.keys.delete(caller, id)
      return reply.code(204).send(null)
    },
  })

  app.post('/projects', {
    schema: {
      tags: ['projects'],
      operationId: 'createProject',
      summary: 'Make a project',
      body: CreateProjectBody,
      response: { 201: ProjectRef },
    },
    handler: async (request, reply) =>
      reply.code(201).send(presentProject(await engine.projects.create(callerOf(request), request.body))),
  })

  app.get('/projects', {
    schema: {
      tags: ['projects'],
      operationId: 'listProjects',
      summary: 'List projects',
      querystring: PageQuery,
      response: { 200: page(ProjectRef) },
    },
    handler: async (request) => {
      const all = [...(await engine.projects.list(callerOf(request)))].sort((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1))
      const { items, next } = pageOf(all, request.query, ({ createdAt, id }) => [createdAt, id])
      return { items: items.map(presentProject), next }
    },
  })

  app.get('/projects/:project', {
    schema: { tags: ['projects'], operationId: 'getProject', summary: 'One project', params: ProjectParams, response: { 200: ProjectRef } },
    handler: async (request) => presentProject(await findProject(engine, callerOf(request), request.params.project)),
  })

  app.patch('/projects/:project', {
    schema: {
      tags: ['projects'],
      operationId: 'updateProject',
      summary: 'Change a project',
      params: ProjectParams,
      body: UpdateProjectBody,
      response: { 200: ProjectRef },
    },
    handler: async (request) => {
      const caller = callerOf(request)
      const { id } = await findProject(engine, caller, request.params.project)
      return presentProject(await engine.projects.update(caller, id, request.body))
    },
  })
}
