/** The OpenAPI document: its head, and what the routes' schemas alone don't say (errors, bodies of bytes). Pure. */
import type { FastifyDynamicSwaggerOptions } from '@fastify/swagger'

interface Operation {
  readonly operationId?: string
  responses?: Record<string, { description?: string }>
  requestBody?: { required?: boolean; content?: Record<string, unknown> }
}
/** As far as it is touched here. */
export interface OpenApiDocument {
  readonly paths?: object | undefined
}

const STATUS_WORDS: Readonly<Record<string, string>> = {
  200: 'Done.',
  201: 'Made.',
  202: 'Recorded; the work goes on.',
  204: 'Done; there is nothing to tell.',
}
const BYTES = { schema: { type: 'string', format: 'binary' } }
/** Routes whose body is bytes, and the types that they take. */
const BYTE_BODIES: Readonly<Record<string, readonly string[]>> = {
  writeFiles: ['application/x-tar', 'application/gzip', 'application/octet-stream'],
  importImage: ['application/x-tar'],
  createVolumeFromArchive: ['application/gzip', 'application/x-tar'],
}
const OPTIONAL_BODIES: ReadonlySet<string> = new Set(['startInstance', 'stopInstance'])

export function documentHead(version: string): NonNullable<FastifyDynamicSwaggerOptions['openapi']> {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Berth',
      version,
      description: 'The native API of Berth: real microVMs on machines of your own.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    components: { securitySchemes: { key: { type: 'http', scheme: 'bearer', description: 'An API key of Berth.' } } },
    security: [{ key: [] }],
  }
}

/** Names of the components. */
export function buildLocalReference(schema: { $id?: unknown }, _base: unknown, _fragment: string, index: number): string {
  return typeof schema.$id === 'string' ? schema.$id : `def-${index}`
}

/** Adds what the routes share; changes the document in place and returns it. */
export function finishDocument<T extends OpenApiDocument>(document: T): T {
  for (const methods of Object.values(document.paths ?? {})) {
    for (const each of Object.values(methods as object)) {
      const operation = each as Operation
      const id = operation.operationId ?? ''
      for (const [status, response] of Object.entries(operation.responses ?? {})) {
        response.description = STATUS_WORDS[status] ?? response.description ?? ''
      }
      operation.responses = { ...operation.responses, default: errorResponse }
      const types = BYTE_BODIES[id]
      if (types !== undefined) operation.requestBody = { required: true, content: Object.fromEntries(types.map((type) => [type, BYTES])) }
      if (OPTIONAL_BODIES.has(id) && operation.requestBody !== undefined) operation.requestBody.required = false
    }
  }
  return document
}

const errorResponse = {
  description: 'Refused, or failed; the code says why.',
  content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
}
