/**
 * A JSON body, read strictly as UTF-8 and never more than the limit in memory.
 *
 * A body that is too large is read on and thrown away, up to a second limit, so that the client that still writes
 * it hears why it is refused and doesn't only find its connection closed.
 */
import type { Readable } from 'node:stream'
import { BerthError } from '../../instance/errors.ts'
import { MAX_JSON_BYTES } from './schema/page.ts'

const DISCARD_LIMIT_BYTES = 64 * 1024 * 1024

/** The value; null where there is no body. Throws `invalid_request` or `limit_exceeded`. */
export async function readJson(stream: Readable): Promise<unknown> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of stream) {
    bytes += (chunk as Buffer).length
    if (bytes <= MAX_JSON_BYTES) chunks.push(chunk as Buffer)
    else chunks.length = 0
    if (bytes > DISCARD_LIMIT_BYTES) break
  }
  if (bytes > MAX_JSON_BYTES) throw new BerthError('limit_exceeded', `The body is larger than the ${MAX_JSON_BYTES} bytes that JSON may have; send less.`)
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks))
    return text === '' ? null : JSON.parse(text)
  } catch (error) {
    const why = error instanceof SyntaxError ? error.message : 'it holds bytes that are no UTF-8'
    throw new BerthError('invalid_request', `The body is not JSON: ${why}.`, { cause: error })
  }
}
