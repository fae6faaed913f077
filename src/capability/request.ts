/** Makes the HTTP request that a consumed operation is, out of the values of one call. */
import { Failure, invalid } from './failure.ts'
import type { ConsumedInput, ConsumedOperation, Json, RequestBody } from './model.ts'
import { isObject } from './shape.ts'
import { inScope, renderJson, renderPath, renderText, renderValue, spell } from './template.ts'
import type { Scope } from './template.ts'
import { HOP_BY_HOP } from './upstream.ts'

export interface BuiltRequest {
  readonly url: URL
  readonly method: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer | null
}

export const HEADER_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/

/** `baseUri` is that of the document, or another that the person who runs it named. */
export async function buildRequest(operation: ConsumedOperation, values: Scope, baseUri: string): Promise<BuiltRequest> {
  const scope = withEnvironment(operation, values)
  const path = renderPath(operation.path, pathScope(operation, scope))
  // Behind a slash, no value can become a part of the host's name.
  const url = new URL(`${baseUri}${/^(?:[/?]|$)/.test(path) ? '' : '/'}${path}`)
  const headers: Record<string, string> = { accept: acceptOf(operation), 'user-agent': 'berth-capability' }
  const cookies: string[] = []
  const fields: Record<string, Json> = {}
  const missing: { field: string; description: string }[] = []
  for (const input of operation.inputs) {
    const value = valueOf(input, scope)
    if (value === undefined || value === null) {
      if (input.isRequired && input.place !== 'path') missing.push({ field: input.name, description: 'is required.' })
      continue
    }
    switch (input.place) {
      case 'query':
        for (const each of Array.isArray(value) ? (value as readonly Json[]) : [value]) url.searchParams.append(input.name, spell(each))
        break
      case 'header':
        if (!HOP_BY_HOP.has(input.name.toLowerCase())) headers[headerName(input.name)] = headerValue(input.name, value)
        break
      case 'cookie':
        cookies.push(`${headerName(input.name)}=${encodeURIComponent(spell(value))}`)
        break
      case 'body':
        fields[input.name] = value
        break
      case 'path':
      case 'environment':
        break
    }
  }
  if (missing.length > 0) throw invalid(missing)
  if (cookies.length > 0) headers['cookie'] = cookies.join('; ')
  const body = operation.body === null ? fieldsBody(fields) : await renderBody(operation.body, scope, fields)
  if (body !== null && headers['content-type'] === undefined) headers['content-type'] = body.type
  return { url, method: operation.method, headers, body: body?.bytes ?? null }
}

function valueOf(input: ConsumedInput, scope: Scope): Json | undefined {
  return input.value === null ? inScope({ variables: {}, inputs: scope.inputs }, input.name) : renderValue(input.value, scope)
}

/** What `in: environment` names is a variable for the templates, and is not sent by itself. */
function withEnvironment(operation: ConsumedOperation, scope: Scope): Scope {
  const added = operation.inputs.flatMap((input): [string, Json][] => {
    if (input.place !== 'environment') return []
    const value = input.value === null ? scope.variables[input.name] : renderValue(input.value, scope)
    return value === undefined ? [] : [[input.name, value]]
  })
  return added.length === 0 ? scope : { ...scope, inputs: { ...scope.inputs, ...Object.fromEntries(added) } }
}

/** Inputs of the path that carry a template of their own give their values to it. */
function pathScope(operation: ConsumedOperation, scope: Scope): Scope {
  const own = operation.inputs.flatMap((input): [string, Json][] => {
    const value = input.place === 'path' && input.value !== null ? renderValue(input.value, scope) : undefined
    return value === undefined ? [] : [[input.name, value]]
  })
  return { ...scope, inputs: { ...scope.inputs, ...Object.fromEntries(own) } }
}

function acceptOf(operation: ConsumedOperation): string {
  switch (operation.format) {
    case 'json':
      return 'application/json'
    case 'xml':
      return 'application/xml, text/xml;q=0.9'
    case 'yaml':
      return 'application/yaml, text/yaml;q=0.9, */*;q=0.1'
    case 'csv':
      return 'text/csv, */*;q=0.1'
    case 'html':
      return 'text/html, */*;q=0.1'
    case 'markdown':
      return 'text/markdown, text/plain;q=0.9, */*;q=0.1'
    default:
      return operation.mediaType ?? '*/*'
  }
}

export function headerName(name: string): string {
  if (!HEADER_NAME.test(name)) throw new Failure('internal', `"${name}" can't be the name of a header.`)
  return name.toLowerCase()
}

// eslint-disable-next-line no-control-regex -- they are what is looked for
export const NOT_IN_HEADERS = /[\0-\x08\x0a-\x1f\x7f]/

/** A header is one line, and nobody's value makes it two. */
function headerValue(name: string, value: Json): string {
  const text = spell(value)
  if (NOT_IN_HEADERS.test(text)) throw invalid([{ field: name, description: 'must be one line without control characters.' }])
  return Buffer.from(text, 'utf8').toString('latin1')
}

interface Body {
  readonly type: string
  readonly bytes: Buffer
}

const jsonBody = (value: Json): Body => ({ type: 'application/json', bytes: Buffer.from(JSON.stringify(value)) })

function fieldsBody(fields: Readonly<Record<string, Json>>): Body | null {
  return Object.keys(fields).length === 0 ? null : jsonBody(fields)
}

async function renderBody(body: RequestBody, scope: Scope, fields: Readonly<Record<string, Json>>): Promise<Body | null> {
  switch (body.type) {
    case 'json': {
      const value = renderJson(body.data, scope)
      if (value === undefined) return fieldsBody(fields)
      return jsonBody(isObject(value) && Object.keys(fields).length > 0 ? ({ ...value, ...fields } as Json) : value)
    }
    case 'text':
      return { type: 'text/plain; charset=utf-8', bytes: Buffer.from(renderText(body.data, scope)) }
    case 'xml':
      return { type: 'application/xml', bytes: Buffer.from(renderText(body.data, scope, escapeXml)) }
    case 'sparql':
      return { type: 'application/sparql-query', bytes: Buffer.from(renderText(body.data, scope, escapeSparql)) }
    case 'formUrlEncoded': {
      const type = 'application/x-www-form-urlencoded'
      if (typeof body.data === 'string') return { type, bytes: Buffer.from(renderText(body.data, scope, encodeURIComponent)) }
      const form = new URLSearchParams()
      for (const [name, template] of Object.entries(body.data)) {
        const value = renderValue(template, scope)
        for (const each of Array.isArray(value) ? (value as readonly Json[]) : value === undefined ? [] : [value]) form.append(name, spell(each))
      }
      return { type, bytes: Buffer.from(form.toString()) }
    }
    case 'multipartForm': {
      const form = new FormData()
      for (const part of body.data) {
        const value = renderText(part.value, scope)
        const isFile = part.filename !== null || part.contentType !== null
        if (!isFile) form.append(renderText(part.name, scope), value)
        else form.append(renderText(part.name, scope), new Blob([value], { type: part.contentType ?? 'application/octet-stream' }), renderText(part.filename ?? 'blob', scope))
      }
      const encoded = new Response(form)
      return { type: encoded.headers.get('content-type') ?? 'multipart/form-data', bytes: Buffer.from(await encoded.arrayBuffer()) }
    }
  }
}

const XML: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&apos;' }
const escapeXml = (text: string): string => text.replace(/[&<>"']/g, (char) => XML[char] ?? char)
const escapeSparql = (text: string): string => text.replace(/["'\\]/g, '\\$&').replaceAll('\n', '\\n').replaceAll('\r', '\\r')
