/** Managed Kubernetes and lifecycle scripts: lists that are empty, and a plain word for who wants to make one. */
import type { FastifyRequest } from 'fastify'
import { queryFields } from './body.ts'
import { MAX_LIMIT, SORT_DIRECTIONS } from './cursor.ts'
import { httpError } from './errors.ts'
import type * as wire from './schema.ts'
import type { Surface } from './surface.ts'
import { callerOf, finishInProject } from './surface.ts'

export async function listClusters(_surface: Surface, request: FastifyRequest): Promise<readonly never[]> {
  finishInProject(queryFields(request), callerOf(request))
  return []
}

export async function listScripts(_surface: Surface, request: FastifyRequest): Promise<wire.Page<never>> {
  const query = queryFields(request)
  query.choice('sort_by', ['created_at', 'last_modified_at'])
  query.choice('sort_dir', SORT_DIRECTIONS, 'enum')
  query.integer('limit', { minimum: 1, maximum: MAX_LIMIT })
  finishInProject(query, callerOf(request))
  return { data: [], next_cursor: null }
}

export async function clusterMissing(_surface: Surface, request: FastifyRequest): Promise<never> {
  callerOf(request)
  throw httpError(404, 'There are no Kubernetes clusters on this server.')
}

export async function scriptMissing(_surface: Surface, request: FastifyRequest): Promise<never> {
  callerOf(request)
  throw httpError(404, 'There are no lifecycle scripts on this server.')
}

export async function refuseToMake(_surface: Surface, request: FastifyRequest): Promise<never> {
  callerOf(request)
  throw httpError(400, 'This server makes neither Kubernetes clusters nor lifecycle scripts.')
}
