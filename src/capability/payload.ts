/** Upstream bodies of every raw format, as one JSON document; and what of a body may be shown where it is an error. */
import { parse as parseCsv } from 'csv-parse/sync'
import { XMLParser } from 'fast-xml-parser'
import { parse as parseYaml } from 'yaml'
import { Failure } from './failure.ts'
import { MAX_DEPTH, TooDeep, isShallow, parseJson } from './json.ts'
import type { ConsumedOperation, Json, JsonObject } from './model.ts'
import { isObject } from './shape.ts'
import { EVENTS, LINES, readEvents, readLines } from './stream-format.ts'
import { readHtml, readMarkdownTables } from './table-format.ts'

const SEPARATORS = { csv: ',', tsv: '\t', psv: '|' } as const
/** An error's text is a hint, not a transport. */
const MAX_ERROR_TEXT = 500
/** What of an error that is no JSON is looked at: of a page the title is near its beginning. */
const MAX_READ_ERROR = 8192
const MAX_ALIASES = 100

/** A body that is no JSON and stays as it is. */
export interface Media {
  /** Null if neither the document nor the upstream says it. */
  readonly type: string | null
  readonly bytes: Buffer
}

export type Payload = { readonly kind: 'json'; readonly value: Json } | { readonly kind: 'empty' } | { readonly kind: 'media'; readonly media: Media }

/** The document in a body; a body without bytes has none. */
export function readPayload(operation: ConsumedOperation, body: Buffer, mediaType: string | undefined): Payload {
  if (operation.format === 'binary') return { kind: 'media', media: { type: operation.mediaType ?? mediaType ?? null, bytes: body } }
  if (body.length === 0) return { kind: 'empty' }
  try {
    const value = operation.readBody === null ? (readStream(operation, body, mediaType) ?? parse(operation, body.toString('utf8'))) : operation.readBody(body)
    if (!isShallow(value)) throw new TooDeep('nested too deeply')
    return { kind: 'json', value }
  } catch (error) {
    if (error instanceof TooDeep || error instanceof RangeError) throw new Failure('upstream_error', `The upstream's answer is nested more than ${MAX_DEPTH} deep.`, { cause: error })
    throw new Failure('upstream_error', `The upstream's answer is not ${operation.format}, which "${operation.name}" promises.`, { cause: error })
  }
}

/** A body of many documents, where its media type says so and the operation promises JSON; undefined for any other. */
function readStream({ format }: ConsumedOperation, body: Buffer, mediaType: string | undefined): Json | undefined {
  const type = (mediaType ?? '').split(';')[0]?.trim().toLowerCase() ?? ''
  if (format !== 'json') return undefined
  if (type === EVENTS) return readEvents(body.toString('utf8'))
  return LINES.has(type) ? readLines(body.toString('utf8')) : undefined
}

function parse(operation: ConsumedOperation, text: string): Json {
  switch (operation.format) {
    case 'json':
      return parseJson(text)
    case 'yaml':
      return parseYaml(text, { maxAliasCount: MAX_ALIASES }) as Json
    case 'xml':
      return new XMLParser({ ignoreAttributes: false, attributeNamePrefix: '', parseTagValue: false, processEntities: true }).parse(text, true) as Json
    case 'csv':
    case 'tsv':
    case 'psv':
      return parseCsv(text, { columns: true, delimiter: SEPARATORS[operation.format], bom: true, skip_empty_lines: true, relax_column_count: true }) as Json
    case 'html':
      return readHtml(text, operation.outputSchema)
    case 'markdown':
      return readMarkdown(text, operation.outputSchema)
    default:
      throw new Error(`no reader for ${operation.format}`)
  }
}

/** Sections by their headings; with a prefix, only those whose heading begins with it. Front matter is read as YAML. */
function readMarkdown(text: string, prefix: string | null): Json {
  const [, front, rest] = /^---\r?\n([\s\S]*?)\r?\n---\r?\n?([\s\S]*)$/.exec(text) ?? [undefined, undefined, text]
  const sections: { level: number; heading: string; content: string }[] = []
  for (const line of (rest ?? '').split(/\r?\n/)) {
    const heading = /^(#{1,6})\s(.*)$/.exec(line)
    if (heading !== null) sections.push({ level: heading[1]?.length ?? 1, heading: headingText(heading[2] ?? ''), content: '' })
    else if (sections.length > 0) {
      const last = sections.at(-1)
      if (last !== undefined) last.content += `${line}\n`
    } else if (line.trim() !== '') sections.push({ level: 0, heading: '', content: `${line}\n` })
  }
  const wanted = prefix === null ? sections : sections.filter((each) => each.heading.startsWith(prefix.replace(/^#+\s*/, '')))
  return {
    ...(front === undefined ? {} : { frontMatter: parseYaml(front, { maxAliasCount: MAX_ALIASES }) as Json }),
    tables: readMarkdownTables(rest ?? ''),
    sections: wanted.map((each) => ({ ...each, content: each.content.trim() })),
  }
}

/** Without the marks that may close a heading. */
function headingText(text: string): string {
  let end = text.length
  while (end > 0 && text[end - 1] === '#') end -= 1
  return text.slice(0, end).trim()
}

/** What the upstream said of its error: its own JSON, or its text in one of ours. */
export function readErrorBody(status: number, body: Buffer, host: string): JsonObject {
  const text = body.toString('utf8')
  try {
    const value = parseJson(text)
    if (isObject(value)) return value as JsonObject
    return { status, code: 'upstream_error', message: `${host} answered ${status}.`, details: value }
  } catch {
    const plain = text.slice(0, MAX_READ_ERROR).replace(/<[^>]*>/g, ' ').replace(/[\s\p{Cc}]+/gu, ' ').trim().slice(0, MAX_ERROR_TEXT)
    return { status, code: 'upstream_error', message: plain === '' ? `${host} answered ${status}.` : `${host} answered ${status}: ${plain}` }
  }
}
