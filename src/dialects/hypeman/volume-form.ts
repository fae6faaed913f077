/**
 * The older multipart form that creates a volume from an archive: `name`, `size_gb`, `id?`, then `content`.
 *
 * The file is handed on as a stream as soon as it begins, so the fields must come before it (every client that
 * writes forms in order does that); nothing of the archive is kept in memory.
 */
import type { IncomingHttpHeaders } from 'node:http'
import type { Readable } from 'node:stream'
import { Busboy } from '@fastify/busboy'
import type { BusboyFileStream, BusboyInstance } from '@fastify/busboy'
import { asBerthError } from '../../instance/errors.ts'
import type { BerthError } from '../../instance/errors.ts'
import { wireError } from './errors.ts'
import type { CreateVolumeRequest } from './schema.ts'

const FIELDS_LIMIT = 8
const FIELD_LIMIT_BYTES = 4096

export interface VolumeForm {
  readonly fields: CreateVolumeRequest
  readonly content: AsyncIterable<Uint8Array>
}

export function readVolumeForm(headers: IncomingHttpHeaders, body: Readable): Promise<VolumeForm> {
  return new Promise((resolve, reject) => {
    const refuse = (error: BerthError) => {
      body.unpipe()
      body.resume()
      reject(error)
    }
    let parser: BusboyInstance
    try {
      parser = new Busboy({
        headers: { ...headers, 'content-type': headers['content-type'] ?? '' },
        limits: { fields: FIELDS_LIMIT, files: 1, fieldSize: FIELD_LIMIT_BYTES, headerPairs: 32 },
      })
    } catch (error) {
      return refuse(formError(`failed to read the form: ${asBerthError(error).message}`))
    }
    const values = new Map<string, string>()
    let file: BusboyFileStream | null = null
    parser.on('field', (name, value) => values.set(name, value))
    parser.on('file', (name, content) => {
      if (name !== 'content') {
        content.resume()
        return
      }
      file = content
      try {
        resolve({ fields: fieldsOf(values), content })
      } catch (error) {
        content.resume()
        refuse(asBerthError(error))
      }
    })
    parser.on('finish', () => {
      if (file === null) reject(wireError('invalid_request', 'missing_file', 'content is required: the tar.gz archive that fills the volume'))
    })
    parser.on('error', (error: unknown) => refuse(formError(`failed to read the form: ${error instanceof Error ? error.message : String(error)}`)))
    // A connection that breaks off must end the archive with an error, not with an end.
    body.once('close', () => {
      if (body.readableEnded) return
      const broken = formError('the connection closed before the form was complete')
      file?.destroy(broken)
      reject(broken)
    })
    body.pipe(parser)
  })
}

function fieldsOf(values: ReadonlyMap<string, string>): CreateVolumeRequest {
  const name = values.get('name') ?? ''
  const sizeGb = values.get('size_gb') ?? ''
  const id = values.get('id') ?? ''
  if (name === '') throw wireError('invalid_request', 'missing_field', 'name is required, and must come before content')
  if (sizeGb === '') throw wireError('invalid_request', 'missing_field', 'size_gb is required, and must come before content')
  if (!/^\d{1,9}$/.test(sizeGb) || Number(sizeGb) < 1) {
    throw wireError('invalid_request', 'invalid_field', `size_gb must be a whole number from 1 up, got ${JSON.stringify(sizeGb.slice(0, 40))}`)
  }
  return { name, size_gb: Number(sizeGb), ...(id === '' ? {} : { id }) }
}

function formError(message: string): BerthError {
  return wireError('invalid_request', 'invalid_form', message)
}
