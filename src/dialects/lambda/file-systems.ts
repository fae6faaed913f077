/** Shared file systems: none can be made here yet, and that is what every one of these says. */
import type { FastifyRequest } from 'fastify'
import { BerthError } from '../../instance/errors.ts'
import { readBody, requiredText } from './body.ts'
import { objectMissing } from './errors.ts'
import type { Surface } from './surface.ts'
import { callerOf } from './surface.ts'

export async function listFileSystems(_surface: Surface, request: FastifyRequest): Promise<readonly never[]> {
  callerOf(request)
  return []
}

export async function createFileSystem(_surface: Surface, request: FastifyRequest): Promise<never> {
  callerOf(request)
  const body = readBody(request)
  requiredText('name', body['name'])
  requiredText('region', body['region'])
  throw new BerthError('not_supported', 'This server has no shared file systems yet; volumes of the native API are disks of one instance.')
}

export async function deleteFileSystem(_surface: Surface, request: FastifyRequest): Promise<never> {
  callerOf(request)
  throw objectMissing('Filesystem was not found.', 'See GET /api/v1/file-systems.')
}
