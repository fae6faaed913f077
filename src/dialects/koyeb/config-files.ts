/** `config_files` of a definition: what each replica finds in its file system, with permissions as `chmod` has them. */
import type { ConfigFile } from '../../instance/config-file.ts'
import { CONFIG_FILE_LIMIT_BYTES, CONFIG_FILES_LIMIT, CONFIG_FILES_LIMIT_BYTES, problemOfPath } from '../../instance/config-file.ts'
import type { Json } from './body.ts'
import { asList, asObject, asText, requiredText } from './body.ts'
import { fieldError } from './errors.ts'
import { quoted } from './query.ts'

const FIELD = 'definition.config_files'
const DEFAULT_MODE = 0o644
const PERMISSIONS = /^[0-7]{3,4}$/

export function acceptConfigFiles(definition: Json): readonly ConfigFile[] {
  const given = asList(FIELD, definition['config_files'])
  if (given.length > CONFIG_FILES_LIMIT) throw fieldError(FIELD, `at most ${CONFIG_FILES_LIMIT}`)
  const files = given.map((item, index) => acceptFile(`${FIELD}[${index}]`, asObject(FIELD, item)))
  const twice = files.findIndex(({ path }, index) => files.findIndex(other => other.path === path) !== index)
  if (twice >= 0) throw fieldError(`${FIELD}[${twice}].path`, 'another file has this path')
  if (files.reduce((sum, { content }) => sum + Buffer.byteLength(content), 0) > CONFIG_FILES_LIMIT_BYTES) throw fieldError(FIELD, `all of them together have at most ${CONFIG_FILES_LIMIT_BYTES} bytes`)
  return files
}

function acceptFile(field: string, file: Json): ConfigFile {
  const path = requiredText(`${field}.path`, file['path'])
  const problem = problemOfPath(path)
  if (problem !== null) throw fieldError(`${field}.path`, `${quoted(path)}: ${problem}`)
  const permissions = asText(`${field}.permissions`, file['permissions'])
  if (permissions !== '' && !PERMISSIONS.test(permissions)) throw fieldError(`${field}.permissions`, `${quoted(permissions)} are not permissions like 0644`)
  const content = asText(`${field}.content`, file['content'])
  if (Buffer.byteLength(content) > CONFIG_FILE_LIMIT_BYTES) throw fieldError(`${field}.content`, `at most ${CONFIG_FILE_LIMIT_BYTES} bytes`)
  return { path, mode: permissions === '' ? DEFAULT_MODE : Number.parseInt(permissions, 8), content }
}
