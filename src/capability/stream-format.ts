/** Bodies of many documents, each as one list: lines of JSON, and server-sent events. */
import { parseJson } from './json.ts'
import type { Json, JsonObject } from './model.ts'

export const EVENTS = 'text/event-stream'
export const LINES: ReadonlySet<string> = new Set(['application/x-ndjson', 'application/ndjson', 'application/jsonl', 'application/x-jsonlines', 'application/jsonlines', 'application/json-seq'])

const RECORD = '\u001e'

/** NDJSON, JSON Lines and JSON text sequences (RFC 7464), whose records begin with a separator. Empty lines are none. */
export function readLines(text: string): Json {
  return text
    .replaceAll(RECORD, '\n')
    .split(/\r?\n/)
    .filter((line) => line.trim() !== '')
    .map((line) => parseJson(line))
}

/** Events as the HTML specification reads them; data that is JSON is a document, any other a text. The last needs its end. */
export function readEvents(text: string): Json {
  const events: JsonObject[] = []
  let id: string | null = null
  let event = ''
  let data: string[] = []
  for (const line of text.replace(/^\uFEFF/, '').split(/\r\n|\n|\r/)) {
    if (line === '') {
      if (data.length > 0) events.push({ event: event === '' ? 'message' : event, ...(id === null ? {} : { id }), data: asDocument(data.join('\n')) })
      event = ''
      data = []
      continue
    }
    const [, field = '', value = ''] = /^([^:]*)(?:: ?([\s\S]*))?$/.exec(line) ?? []
    if (field === 'data') data.push(value)
    else if (field === 'event') event = value
    else if (field === 'id' && !value.includes('\0')) id = value
  }
  return events
}

function asDocument(text: string): Json {
  try {
    return parseJson(text)
  } catch {
    return text
  }
}
