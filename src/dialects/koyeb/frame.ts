/**
 * The frames of exec, one JSON object per WebSocket message:
 *
 *   in   {"id":"…","id_type":"INSTANCE_ID","body":{"command":["sh"],"tty_size":{"height":24,"width":80},
 *         "stdin":{"data":"bHMN","close":false},"disableTty":true}}
 *   out  {"result":{"stdout":{"data":"aGVsbG8K","close":false},"stderr":null,"exited":false,"exit_code":0}}
 *   out  {"error":{"code":9,"message":"failed_precondition","details":[…]}}
 *
 * Every key comes in two spellings; `null` is absent, and unknown keys are ignored. The CLI repeats `id` and
 * `command` in every frame, its console sends neither again.
 */
import { fieldError } from './errors.ts'
import { spellings } from './query.ts'
import type { ExecIdType, ExecIo, ExecReply } from './schema.ts'
import { EXEC_ID_TYPES } from './schema.ts'

export interface TtySize {
  readonly rows: number
  readonly cols: number
}

/** A frame as it was meant; null is what it doesn't say. */
export interface ExecFrame {
  readonly id: string | null
  readonly idType: ExecIdType | null
  readonly command: readonly string[] | null
  readonly size: TtySize | null
  readonly stdin: Buffer | null
  readonly closeStdin: boolean
  readonly disableTty: boolean | null
}

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/
const SIZE_MAX = 65_535

/** Reads one frame. Throws `invalid_request` with the field that is wrong. */
export function readFrame(text: string): ExecFrame {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw fieldError('body', 'the frame is not JSON', error)
  }
  const frame = asObject('frame', value)
  const body = asObject('body', member(frame, 'body') ?? {})
  const stdin = asObject('body.stdin', member(body, 'stdin') ?? {})
  const data = member(stdin, 'data')
  return {
    id: asText('id', member(frame, 'id')),
    idType: asIdType(asText('id_type', member(frame, 'id_type'))),
    command: asCommand(member(body, 'command')),
    size: asSize(member(body, 'tty_size')),
    stdin: data === null ? null : decodeBase64(asText('body.stdin.data', data) ?? ''),
    closeStdin: asFlag('body.stdin.close', member(stdin, 'close')) ?? false,
    disableTty: asFlag('body.disableTty', member(body, 'disableTty')),
  }
}

export function decodeBase64(text: string, field = 'body.stdin.data'): Buffer {
  if (!BASE64.test(text)) throw fieldError(field, 'it is not base64 (standard alphabet, padded)')
  return Buffer.from(text, 'base64')
}

export function asIdType(text: string | null): ExecIdType | null {
  if (text === null || text === '') return null
  const type = EXEC_ID_TYPES.find(candidate => candidate === text)
  if (type === undefined) throw fieldError('id_type', `choose from ${EXEC_ID_TYPES.join(', ')}`)
  return type
}

/** 0 is an unset number on this wire. */
export function ttySize(height: number | null, width: number | null): TtySize | null {
  if (!height || !width) return null
  if (height > SIZE_MAX || width > SIZE_MAX) throw fieldError('body.tty_size', `at most ${SIZE_MAX} rows and columns`)
  return { rows: height, cols: width }
}

export function outputReply(stream: 'stdout' | 'stderr', data: Uint8Array): ExecReply {
  const io: ExecIo = { data: Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64'), close: false }
  return { stdout: stream === 'stdout' ? io : null, stderr: stream === 'stderr' ? io : null, exited: false, exit_code: 0 }
}

export function exitReply(code: number): ExecReply {
  return { stdout: null, stderr: null, exited: true, exit_code: code }
}

function member(value: Readonly<Record<string, unknown>>, name: string): unknown {
  for (const key of spellings(name)) if (Object.hasOwn(value, key) && value[key] !== undefined) return value[key]
  return null
}

function asObject(field: string, value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw fieldError(field, 'it must be an object')
  return value as Readonly<Record<string, unknown>>
}

function asText(field: string, value: unknown): string | null {
  if (value === null) return null
  if (typeof value !== 'string') throw fieldError(field, 'it must be text')
  return value
}

function asFlag(field: string, value: unknown): boolean | null {
  if (value === null || typeof value === 'boolean') return value
  throw fieldError(field, 'it must be true or false')
}

function asCommand(value: unknown): readonly string[] | null {
  if (value === null) return null
  if (!Array.isArray(value) || !value.every(word => typeof word === 'string')) throw fieldError('body.command', 'it must be a list of text')
  return value.length === 0 ? null : value
}

function asSize(value: unknown): TtySize | null {
  if (value === null) return null
  const size = asObject('body.tty_size', value)
  const read = (name: string) => {
    const number = member(size, name)
    if (number === null) return null
    if (typeof number !== 'number' || !Number.isInteger(number) || number < 0) throw fieldError(`body.tty_size.${name}`, 'it must be a whole number')
    return number
  }
  return ttySize(read('height'), read('width'))
}
