/**
 * Writes docs/native-api.md from the routes' own schemas, so that the page can't drift from the code.
 * Usage: node scripts/native-reference.ts [--check]     --check: fails if the page is not up to date.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import websocket from '@fastify/websocket'
import Fastify from 'fastify'
import type { DialectOptions } from '../src/dialects/dialect.ts'
import { native, PREFIX } from '../src/dialects/native/routes.ts'
import { ERROR_CODES, BerthError } from '../src/instance/errors.ts'
import type { ErrorCode } from '../src/instance/errors.ts'

interface Schema {
  readonly $ref?: string
  readonly type?: string | readonly string[]
  readonly format?: string
  readonly description?: string
  readonly enum?: readonly unknown[]
  readonly const?: unknown
  readonly anyOf?: readonly Schema[]
  readonly items?: Schema
  readonly properties?: Readonly<Record<string, Schema>>
  readonly patternProperties?: Readonly<Record<string, Schema>>
  readonly additionalProperties?: boolean | Schema
  readonly required?: readonly string[]
  readonly minimum?: number
  readonly maximum?: number
}

interface Operation {
  readonly operationId: string
  readonly summary?: string
  readonly description?: string
  readonly tags?: readonly string[]
  readonly security?: readonly unknown[]
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly required?: boolean; readonly description?: string; readonly schema: Schema }[]
  readonly requestBody?: { readonly required?: boolean; readonly content: Readonly<Record<string, { readonly schema: Schema }>> }
  readonly responses: Readonly<Record<string, { readonly description?: string; readonly content?: Readonly<Record<string, { readonly schema: Schema }>> }>>
}

interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> }
}

const PAGE = new URL('../docs/native-api.md', import.meta.url)

/** The OpenAPI document of the dialect; its routes are only described, never called. */
export async function nativeDocument(): Promise<Document> {
  const version = (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }).version
  const app = Fastify()
  await app.register(websocket)
  const options = { version, stopping: new AbortController().signal, stateDir: '/nonexistent', now: Date.now, authenticate: async () => null }
  await app.register(native.plugin, options as unknown as DialectOptions)
  const answer = await app.inject({ method: 'GET', url: `${PREFIX}/openapi.json` })
  await app.close()
  return answer.json<Document>()
}

/** The whole page. */
export async function referencePage(): Promise<string> {
  const document = await nativeDocument()
  const groups = new Map<string, string[]>()
  for (const [path, methods] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const group = operation.tags?.[0] ?? 'other'
      groups.set(group, [...(groups.get(group) ?? []), describeOperation(method, path, operation)])
    }
  }
  const routes = [...groups].map(([name, texts]) => `## ${capital(name)}\n\n${texts.join('\n')}`)
  const objects = Object.entries(document.components.schemas).map(([name, schema]) => `### ${name}\n\n${fieldTable(schema)}\n`)
  return `${INTRODUCTION}\n${errorTable()}\n${routes.join('\n')}\n${EXEC}\n## Objects\n\n${objects.join('\n')}`
}

function describeOperation(method: string, path: string, operation: Operation): string {
  const { summary, description, parameters = [], requestBody, responses } = operation
  const lines = [`### ${summary ?? operation.operationId}`, '', `\`${method.toUpperCase()} ${path}\``, '']
  if (description !== undefined) lines.push(description, '')
  if (parameters.length > 0) {
    lines.push('| Parameter | In | Type | |', '|---|---|---|---|')
    for (const each of parameters) {
      lines.push(`| \`${each.name}\`${each.required === true ? ' *' : ''} | ${each.in} | ${typeText(each.schema)} | ${cell(each.description)} |`)
    }
    lines.push('')
  }
  const body = requestBody?.content['application/json']?.schema
  if (body !== undefined) {
    const shown = body.anyOf?.find(({ properties }) => properties !== undefined) ?? body
    lines.push(requestBody?.required === false ? 'Body (optional):' : 'Body:', '', fieldTable(shown), '')
  } else if (requestBody !== undefined) {
    lines.push(`Body: bytes, as ${Object.keys(requestBody.content).map((type) => `\`${type}\``).join(', ')}.`, '')
  }
  const answers = Object.entries(responses)
    .filter(([status]) => status !== 'default')
    .map(([status, { content }]) => `${status}${answerText(content)}`)
  lines.push(`Answer: ${answers.join('; ')}.`, '')
  return lines.join('\n')
}

function answerText(content: Operation['responses'][string]['content']): string {
  const [first] = Object.entries(content ?? {})
  if (first === undefined) return ''
  const [type, { schema }] = first
  return type === 'application/json' ? ` ${typeText(schema)}` : ` ${Object.keys(content ?? {}).map((each) => `\`${each}\``).join(' or ')} of ${typeText(schema)}`
}

function fieldTable(schema: Schema): string {
  const rows = fieldRows(schema, '')
  if (rows.length === 0) return schema.description ?? ''
  return ['| Field | Type | |', '|---|---|---|', ...rows].join('\n')
}

function fieldRows(schema: Schema, prefix: string): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const inner = field.properties === undefined ? field.anyOf?.find(({ properties }) => properties !== undefined) : field
    const ofItems = field.items?.properties === undefined ? undefined : field.items
    const row = `| \`${prefix}${name}\`${schema.required?.includes(name) === true ? '' : ' ?'} | ${typeText(field)} | ${cell(field.description)} |`
    const below = inner !== undefined ? fieldRows(inner, `${prefix}${name}.`) : ofItems !== undefined ? fieldRows(ofItems, `${prefix}${name}[].`) : []
    return [row, ...below]
  })
}

function typeText(schema: Schema): string {
  if (schema.$ref !== undefined) {
    const name = schema.$ref.split('/').at(-1) ?? ''
    return `[${name}](#${name.toLowerCase()})`
  }
  if (schema.const !== undefined) return `\`${JSON.stringify(schema.const)}\``
  if (schema.enum !== undefined) return schema.enum.map((each) => `\`${String(each)}\``).join(' ')
  if (schema.anyOf !== undefined) return schema.anyOf.map(typeText).join(' or ')
  if (schema.type === 'array') return `list of ${typeText(schema.items ?? {})}`
  if (schema.type === 'object') {
    const items = schema.properties?.['items']
    if (items?.items !== undefined) return `page of ${typeText(items.items)}`
    const fields = Object.entries(schema.properties ?? {})
    if (fields.some(([, field]) => field.$ref !== undefined)) {
      return `{ ${fields.map(([name, field]) => `${name}: ${typeText(field)}`).join(', ')} }`
    }
    return schema.patternProperties === undefined ? 'object' : 'map of text'
  }
  if (schema.format === 'date-time') return 'time'
  if (schema.format === 'binary') return 'bytes'
  if (schema.type === 'string') return 'text'
  if (schema.type === 'integer') return rangeText('integer', schema)
  return schema.type === undefined ? 'any' : String(schema.type)
}

function rangeText(word: string, { minimum, maximum }: Schema): string {
  const isBounded = minimum !== undefined && maximum !== undefined && maximum < Number.MAX_SAFE_INTEGER
  return isBounded ? `${word} ${minimum}-${maximum}` : word
}

function errorTable(): string {
  const rows = (Object.keys(ERROR_CODES) as ErrorCode[]).map((code) => {
    const { status } = native.presentError(new BerthError(code, ''))
    return `| \`${code}\` | ${status} | ${ERROR_CODES[code].retry ? 'yes' : 'no'} |`
  })
  return ['| Code | Status | Retry |', '|---|---|---|', ...rows, ''].join('\n')
}

function cell(text: string | undefined): string {
  return (text ?? '').replaceAll('|', '\\|')
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}

const INTRODUCTION = `# The native API

<!-- Made by scripts/native-reference.ts from the routes' schemas: change those, then run it. -->

Everything that Berth does, under \`${PREFIX}\`. The OpenAPI 3.1 document is at \`${PREFIX}/openapi.json\`.

- Send the key as \`Authorization: Bearer KEY\`; only \`/version\` and \`/openapi.json\` answer without one.
- JSON in camelCase. Times are RFC3339 in UTC with milliseconds, sizes integers in bytes, spans integers in
  milliseconds. Every key of an answer is always there; what is unknown is \`null\`. A field marked \`?\` may be
  left out of a request. A field or parameter that is not known is refused, so that a typing error is told.
- \`{instance}\` is an id, a name, the beginning of an id, or the id as any dialect spells it. What belongs to
  another project is not found.
- Lists are pages \`{ "items": […], "next": "cursor" }\`; pass \`next\` as \`cursor\` until it is \`null\`.
- A call that changes something answers when the wish is recorded. With \`wait\` it answers when the work is done;
  if the work fails, that is the answer's error. A client that goes away interrupts nothing.
- Endless answers are NDJSON (one object a line; skip empty lines), or server-sent events with
  \`Accept: text/event-stream\`. An error after the first byte is a last record \`{ "error": … }\` (SSE: event \`error\`).
- Scopes of a key: \`read\` to look, \`write\` to change, \`exec\` for commands and files in instances, \`admin\` for keys
  and projects.

## Errors

\`\`\`json
{ "error": { "code": "not_found", "message": "There is no instance \\"web\\" in this project.", "details": {}, "retry": false } }
\`\`\`

\`message\` is one sentence for a person, \`details\` the data behind it, \`retry\` whether the same call may succeed later.
`

const EXEC = `## The exec protocol

\`GET ${PREFIX}/instances/{instance}/exec\` with \`Upgrade: websocket\`. What is wrong before the upgrade (key, instance) is an
HTTP status. Then text frames are JSON control and binary frames are bytes of one channel:

\`\`\`
        0         1 …
  ┌─────────┬──────────────────────┐    channel 0  stdin   client → server
  │ channel │ bytes                │            1  stdout  server → client
  └─────────┴──────────────────────┘            2  stderr  server → client, never with a terminal

  client                                          server
    │ {"type":"start","command":["sh"],…}           │
    │ ────────────────────────────────────────────▶ │
    │                            {"type":"started"} │
    │ ◀──────────────────────────────────────────── │
    │ 00 6c 73 0a                      "ls\\n"       │
    │ ────────────────────────────────────────────▶ │
    │ 01 62 69 6e 0a …                 "bin\\n…"     │
    │ ◀──────────────────────────────────────────── │
    │ {"type":"eof"}                   end of stdin │
    │ ────────────────────────────────────────────▶ │
    │   {"type":"exit","code":0,"signal":null,"timedOut":false}
    │ ◀──────────────────────────────────────────── │  then close 1000
\`\`\`

| Message | From | |
|---|---|---|
| \`start\` | client | first, within 10 s: \`command\` (argv), and optionally \`env\`, \`workingDir\`, \`user\` (null is root), \`tty\` (\`{"rows","cols"}\` or null), \`timeoutMs\`, \`wake\` (restore from standby first) |
| \`resize\` | client | \`rows\`, \`cols\` of the terminal |
| \`signal\` | client | \`signal\`: \`"SIGINT"\`, \`"TERM"\` or \`9\`, to the process group |
| \`eof\` | client | end of stdin |
| \`started\` | server | the command runs |
| \`exit\` | server | \`code\` (128 + signal if a signal ended it), \`signal\`, \`timedOut\`; then close 1000 |
| \`error\` | server | \`error\` as above; then close 4000 |

A frame of a client may have 1 MiB. Both ways are flow-controlled: while 1 MiB waits for the guest the server reads
nothing more from the client, and while 1 MiB waits for the client it reads nothing more from the guest, so a client
that stalls holds the command and never the server's memory. Closing the socket ends the command. The server pings
every 20 s.
`

if (import.meta.main) {
  const page = await referencePage()
  if (process.argv.includes('--check')) {
    const isSame = readFileSync(PAGE, 'utf8') === page
    if (!isSame) {
      process.stderr.write('docs/native-api.md is not up to date: run node scripts/native-reference.ts\n')
      process.exitCode = 1
    }
  } else {
    writeFileSync(PAGE, page)
  }
}
