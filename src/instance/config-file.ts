/** Files that an instance finds at its first start, before its application: given with it, and not of its image. */
import { BerthError } from './errors.ts'

export interface ConfigFile {
  /** Absolute, of the guest. */
  readonly path: string
  /** Permission bits. */
  readonly mode: number
  /** Text; `{{ NAME }}` stands for a variable of the instance, `{{ secret.NAME }}` for a secret. */
  readonly content: string
}

export const CONFIG_FILES_LIMIT = 64
export const CONFIG_FILE_LIMIT_BYTES = 256 * 1024
/** Of all files of an instance together. */
export const CONFIG_FILES_LIMIT_BYTES = 512 * 1024
const PATH_LIMIT_CHARACTERS = 4096
const PART_LIMIT_BYTES = 255

/** What is wrong with a path; null is nothing. */
export function problemOfPath(path: string): string | null {
  if (!path.startsWith('/') || path.endsWith('/')) return 'it is not the absolute path of a file'
  if (path.length > PATH_LIMIT_CHARACTERS || path.includes('\0')) return `a path has at most ${PATH_LIMIT_CHARACTERS} characters, and no NUL among them`
  const parts = path.slice(1).split('/')
  if (parts.some(part => part === '' || part === '.' || part === '..')) return 'write it without //, . and ..'
  if (parts.some(part => Buffer.byteLength(part) > PART_LIMIT_BYTES)) return `a name in it has at most ${PART_LIMIT_BYTES} bytes`
  const [first = ''] = parts
  return ['proc', 'sys', 'dev'].includes(first) ? `/${first} is the kernel’s own` : null
}

/** Throws `invalid_request` or `limit_exceeded` with what is wrong. */
export function checkConfigFiles(files: readonly ConfigFile[]): void {
  if (files.length > CONFIG_FILES_LIMIT) throw new BerthError('limit_exceeded', `${files.length} files are given; at most ${CONFIG_FILES_LIMIT} are allowed.`)
  const seen = new Set<string>()
  let totalBytes = 0
  for (const { path, mode, content } of files) {
    const problem = problemOfPath(path)
    if (problem !== null || seen.has(path)) throw new BerthError('invalid_request', `A file can’t be put at ${JSON.stringify(path.slice(0, 200))}: ${problem ?? 'it is given twice'}.`, { details: { field: 'files' } })
    if (!Number.isInteger(mode) || mode < 0 || mode > 0o7777) throw new BerthError('invalid_request', `${mode} are no permissions of a file.`, { details: { field: 'files' } })
    seen.add(path)
    const bytes = Buffer.byteLength(content)
    totalBytes += bytes
    if (bytes > CONFIG_FILE_LIMIT_BYTES || totalBytes > CONFIG_FILES_LIMIT_BYTES) {
      throw new BerthError('limit_exceeded', `The file ${path} is too much: one has at most ${CONFIG_FILE_LIMIT_BYTES} bytes, and all of an instance ${CONFIG_FILES_LIMIT_BYTES}.`, { details: { field: 'files' } })
    }
  }
}
