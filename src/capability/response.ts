/**
 * What a REST answer looks like: its status, media type and bytes, by what the operation declares of its responses
 * (Ikanos' `responses` and `responseBinary`). What nothing is declared of is JSON with the upstream's status.
 */
import { requireSchema } from './answer-schema.ts'
import type { DeclaredResponse } from './model.ts'
import type { Answer } from './runner.ts'

const JSON_TYPE = 'application/json; charset=utf-8'
const BYTES_TYPE = 'application/octet-stream'
/** They have no body, whatever else is said. */
const BODILESS: ReadonlySet<number> = new Set([204, 205, 304])

export interface ShapedAnswer {
  readonly status: number
  readonly mediaType: string
  /** Null for no body. */
  readonly bytes: Buffer | null
}

export function shapeAnswer(answer: Answer, responses: readonly DeclaredResponse[]): ShapedAnswer {
  const status = answer.isError ? answer.status : (soleSuccess(responses) ?? answer.status)
  const content = declaredFor(status, responses)?.content ?? []
  if (BODILESS.has(status)) return { status, mediaType: JSON_TYPE, bytes: null }
  if (answer.media !== null) {
    const mediaType = answer.media.type ?? content.find((each) => each.isBinary)?.mediaType ?? BYTES_TYPE
    return { status, mediaType, bytes: answer.media.bytes }
  }
  const { value } = answer
  if (value === undefined) return { status, mediaType: JSON_TYPE, bytes: null }
  const open = content.filter((each) => !each.isBinary)
  const text = open.find((each) => each.mediaType.startsWith('text/'))
  if (typeof value === 'string' && text !== undefined) return { status, mediaType: withCharset(text.mediaType), bytes: Buffer.from(value) }
  const json = open.find((each) => isJsonType(each.mediaType))
  // An error is mirrored as it is: what it says is worth more than its shape.
  if (!answer.isError && json !== undefined && json.schema !== null) requireSchema(value, json.schema, status)
  return { status, mediaType: json === undefined ? JSON_TYPE : withCharset(json.mediaType), bytes: Buffer.from(JSON.stringify(value)) }
}

/** The one 2xx that is declared: it stands for success, whatever the upstream's was. */
function soleSuccess(responses: readonly DeclaredResponse[]): number | null {
  const successes = responses.filter((each) => each.status.startsWith('2'))
  const [only] = successes
  return successes.length === 1 && only !== undefined && /^\d+$/.test(only.status) ? Number(only.status) : null
}

/** What is declared of a status: of itself, else of its class. */
export function declaredFor(status: number, responses: readonly DeclaredResponse[]): DeclaredResponse | null {
  const spelled = String(status)
  return responses.find((each) => each.status === spelled) ?? responses.find((each) => each.status.includes('X') && fits(each.status, spelled)) ?? null
}

const fits = (pattern: string, status: string): boolean => pattern.split('').every((char, at) => char === 'X' || char === status[at])

export function isJsonType(mediaType: string): boolean {
  return /^application\/(?:[\w.+-]+\+)?json(?:\s*;|$)/.test(mediaType)
}

const withCharset = (mediaType: string): string => (mediaType.includes(';') ? mediaType : `${mediaType}; charset=utf-8`)
