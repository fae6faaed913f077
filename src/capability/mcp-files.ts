/** Resources by their addresses, and those of them that are files: read under their location and nowhere else. */
import { readFile, realpath } from 'node:fs/promises'
import { extname, join, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ProtocolError, ProtocolErrorCode } from '@modelcontextprotocol/server'
import type { ReadResourceResult } from '@modelcontextprotocol/server'
import { Failure } from './failure.ts'
import type { McpResource } from './model.ts'

/** Files that resources and prompts are read from. */
const MAX_FILE_BYTES = 10 * 1024 * 1024

/** The values of a URI's templates; of a directory, what follows its URI as `path`. */
export function matchUri(template: string, uri: string, isDirectory: boolean): Record<string, string> | null {
  const names: string[] = []
  const source = template
    .split(/(\{\{?[^{}]+\}?\})/)
    .map((part, at) => {
      if (at % 2 === 0) return part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
      names.push(part.replace(/[{}\s]/g, ''))
      return '([^/]+)'
    })
    .join('')
  const found = new RegExp(isDirectory ? `^${source.replace(/\/$/, '')}(?:/(.+))?$` : `^${source}$`).exec(uri)
  if (found === null) return null
  if (isDirectory) names.push('path')
  try {
    return Object.fromEntries(names.map((name, at) => [name, decodeURIComponent(found[at + 1] ?? '')]))
  } catch {
    return null
  }
}

const TYPES: Readonly<Record<string, string>> = { '.md': 'text/markdown', '.txt': 'text/plain', '.json': 'application/json', '.html': 'text/html', '.yml': 'application/yaml', '.yaml': 'application/yaml', '.csv': 'text/csv' }

export function mediaTypeOf(file: string): string {
  return TYPES[extname(file)] ?? 'application/octet-stream'
}

/** A file under the resource's location, and nowhere else: links out of it lead nowhere. */
export async function readStatic(resource: McpResource, location: string, uri: string, path: string): Promise<ReadResourceResult['contents'][number]> {
  const missing = (): ProtocolError => new ProtocolError(ProtocolErrorCode.InvalidParams, 'There is no such resource.', { uri })
  const root = await realpath(fileURLToPath(location)).catch(() => {
    throw missing()
  })
  const file = await realpath(path === '' ? root : join(root, path)).catch(() => {
    throw missing()
  })
  if (file !== root && !file.startsWith(root + sep)) throw missing()
  const bytes = await readWhole(file).catch(() => {
    throw missing()
  })
  const mimeType = resource.mimeType ?? mediaTypeOf(file)
  const isText = /^text\/|json|yaml|xml/.test(mimeType)
  return isText ? { uri, mimeType, text: bytes.toString('utf8') } : { uri, mimeType, blob: bytes.toString('base64') }
}

export async function readWhole(file: string): Promise<Buffer> {
  const bytes = await readFile(file)
  if (bytes.length > MAX_FILE_BYTES) throw new Failure('too_large', 'The file is larger than 10 MiB.')
  return bytes
}
