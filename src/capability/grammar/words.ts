/** Words of the grammar that are the same in both spellings: names, addresses, sizes, credentials, bodies, responses. */
import { anything, choose, fail, flag, integer, isObject, list, literal, map, record, text } from '../shape.ts'
import type { Path, Report, Rule } from '../shape.ts'

const KEBAB = /^[a-zA-Z0-9-]+$/
const NAME = /^[a-zA-Z0-9_*-]+$/
const CATALOGUE_NAME = /^[a-zA-Z0-9_.*-]+$/
const REFERENCE = /^[a-zA-Z0-9-]+\.[a-zA-Z0-9-]+$/
const VARIABLE = /^[A-Z][A-Z0-9_]*$/
export const DATE = /^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$/
const ADDRESS = /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]{0,251}[a-zA-Z0-9])?|[0-9a-fA-F:.]{2,45})$/
const SIZE = /^\d+(\.\d+)?(B|KiB|MiB|GiB)$/
const MEDIA_TYPE = /^[a-zA-Z0-9!#$&^_.+-]+\/[a-zA-Z0-9!#$&^_.+-]+(?:\s*;\s*[a-zA-Z0-9!#$&^_.+-]+=(?:[a-zA-Z0-9!#$&^_.+-]+|"[^"]*"))*$/

export const kebab = text({ pattern: KEBAB, what: 'a name of letters, digits and dashes' })
export const resourceName = text({ pattern: KEBAB, what: 'a name of letters, digits and dashes', tolerated: NAME })
export const name = text({ pattern: NAME, what: 'a name of letters, digits, dashes and underscores' })
export const inputName = text({ pattern: NAME, what: 'a name of letters, digits, dashes and underscores', tolerated: CATALOGUE_NAME })
export const reference = text({ pattern: REFERENCE, what: 'a reference of the form namespace.name' })
export const fileUri = text({ pattern: /^file:\/\/\//, what: 'a file:/// address' })
export const webUri = text({ pattern: /^https?:\/\/[^/]+/, what: 'an http or https address' })
export const port = integer(1, 65_535)
export const address = text({ pattern: ADDRESS, what: 'a host name or an IP address' })
export const mediaType = text({ pattern: MEDIA_TYPE, what: 'a media type' })
export const size = text({ pattern: SIZE, what: 'a size such as 10MiB' })
export const responses = map(
  record({ description: text(), content: map(record({ binary: flag, schema: map(anything) }), { key: mediaType, minItems: 1 }) }),
  { key: text({ pattern: /^[1-5][0-9X]{2}$/, what: 'a status such as 200, or a class of them such as 4XX' }) },
)
export const responseBinary = record({ status: integer(100, 599), mediaType, description: text() }, { required: ['mediaType'] })
export const language = literal('javascript', 'python', 'groovy')
export const method = literal('GET', 'POST', 'PUT', 'PATCH', 'DELETE')
export const valueType = literal('string', 'number', 'integer', 'boolean', 'array', 'object')
export const outputType = literal('string', 'number', 'boolean', 'object', 'array')
export const inject = map((value, path, report) => {
  if (typeof value !== 'string' && typeof value !== 'number') fail(report, path, 'type', 'must be a text or a number.')
})

export const binding = record(
  {
    namespace: kebab,
    description: text(),
    location: text({ pattern: /^[a-zA-Z][a-zA-Z0-9+.-]*:\/\//, what: 'an address with a scheme, such as file:///etc/keys.yml' }),
    keys: map(name, { key: text({ pattern: VARIABLE, what: 'a variable of capitals, digits and underscores' }) }),
  },
  { required: ['namespace', 'keys'] },
)

export const authentication = choose((value) => {
  const type = isObject(value) ? value['type'] : undefined
  const login = { type: anything, username: text(), password: text() }
  switch (type) {
    case 'basic':
    case 'digest':
      return record(login, { required: ['type'] })
    case 'bearer':
      return record({ type: anything, token: text() }, { required: ['type'] })
    case 'apikey': {
      const tolerated = { in: 'it is read as "placement".', name: 'it is read as "key".' }
      return record({ type: anything, key: text(), value: text(), placement: literal('header', 'query') }, { required: ['type'], tolerated })
    }
    case 'oauth2':
      return record(
        {
          type: anything,
          authorizationServerUri: webUri,
          resource: text(),
          scopes: list(text()),
          audience: text(),
          tokenEndpoint: webUri,
          tokenValidation: literal('jwks', 'introspection'),
        },
        { required: ['type', 'authorizationServerUri', 'resource'] },
      )
    default:
      return record({ type: literal('basic', 'digest', 'bearer', 'apikey', 'oauth2') }, { required: ['type'] })
  }
})

export const requestBody = choose((value) => {
  if (typeof value === 'string') return text()
  const type = isObject(value) ? value['type'] : undefined
  const part = record({ name: text(), value: text(), filename: text(), contentType: text() }, { required: ['name', 'value'] })
  const data: Rule =
    type === 'json'
      ? (each, path, report) => {
          if (typeof each !== 'string' && typeof each !== 'object') fail(report, path, 'type', 'must be a text, a map or a list.')
        }
      : type === 'formUrlEncoded'
        ? choose((each) => (typeof each === 'string' ? text() : map(text())))
        : type === 'multipartForm'
          ? list(part)
          : text()
  return record({ type: literal('json', 'text', 'xml', 'sparql', 'formUrlEncoded', 'multipartForm'), data }, { required: ['type', 'data'] })
})

export function regularExpression(value: unknown, path: Path, report: Report): void {
  text()(value, path, report)
  if (typeof value !== 'string') return
  try {
    RegExp(value, 'u')
  } catch {
    fail(report, path, 'pattern', `"${value}" is not a regular expression.`)
  }
}
