/** What a unit answered, as the result of a tool: text for the model and structure for programs, bytes by their media type. */
import type { CallToolResult } from '@modelcontextprotocol/server'
import type { Json, JsonObject } from './model.ts'
import type { Answer } from './runner.ts'
import { isObject } from './shape.ts'
import { spell } from './template.ts'

/** `uri` names what is neither a picture nor a sound; nothing can be read there again. */
export function present(answer: Answer, exec: boolean, uri: string): CallToolResult {
  if (answer.media !== null) {
    const { bytes } = answer.media
    const type = answer.media.type ?? 'application/octet-stream'
    const data = bytes.toString('base64')
    if (type.startsWith('image/')) return { content: [{ type: 'image', data, mimeType: type }] }
    if (type.startsWith('audio/')) return { content: [{ type: 'audio', data, mimeType: type }] }
    return { content: [{ type: 'resource', resource: { uri, mimeType: type, blob: data } }] }
  }
  const { value } = answer
  if (value === undefined) return { content: [], ...(answer.isError ? { isError: true } : {}) }
  if (answer.isError) {
    return { isError: true, content: [{ type: 'text', text: `${messageOf(value) ?? `HTTP ${answer.status}`}\n${JSON.stringify(value)}` }], structuredContent: { error: value } }
  }
  const text = exec && isObject(value) ? spellExec(value as JsonObject) : typeof value === 'string' ? value : JSON.stringify(value)
  // Older clients take only objects as structured content.
  const structuredContent = isObject(value) ? (value as Record<string, unknown>) : { result: value }
  return { content: [{ type: 'text', text }], structuredContent }
}

function spellExec(value: JsonObject): string {
  const head = value['timed_out'] === true ? 'timed out' : `exit_code: ${spell(value['exit_code'])}`
  const cut = isObject(value['truncated']) ? Object.entries(value['truncated']).filter((each) => each[1] === true).map(([name]) => `${name} is cut at its limit`) : []
  const streams = ['stdout', 'stderr'].flatMap((name) => (typeof value[name] === 'string' && value[name] !== '' ? [`${name}:\n${value[name]}`] : []))
  return [head, ...cut, ...streams].join('\n')
}

export const messageOf = (value: Json | undefined): string | null => {
  const message = isObject(value) ? value['message'] : undefined
  return typeof message === 'string' ? message : null
}

/** The schema of what an exec answers. */
export const EXEC_OUTPUT: JsonObject = {
  type: 'object',
  additionalProperties: false,
  required: ['stdout', 'stderr', 'encoding', 'exit_code', 'timed_out', 'truncated', 'duration_ms'],
  properties: {
    stdout: { type: 'string' },
    stderr: { type: 'string' },
    encoding: { type: 'string', enum: ['utf-8', 'base64'] },
    exit_code: { type: ['integer', 'null'] },
    signal: { type: ['string', 'null'] },
    timed_out: { type: 'boolean' },
    truncated: {
      type: 'object',
      properties: { stdout: { type: 'boolean' }, stderr: { type: 'boolean' } },
      required: ['stdout', 'stderr'],
      additionalProperties: false,
    },
    duration_ms: { type: 'integer' },
    instance_id: { type: 'string' },
  },
}
