/**
 * What an exec takes: one command, run to its end. Koyeb's own dotted names (`body.command`, `body.disableTty`) are
 * wire names that a generated document repeats; they are taken as other names of the same inputs.
 */
import { invalid } from './failure.ts'
import type { FieldError } from './failure.ts'
import type { Input, Json, JsonObject, ValueType, With } from './model.ts'
import { referredInput } from './reference.ts'
import { isObject } from './shape.ts'
import { lookUp } from './template.ts'

const MAX_ARGUMENTS = 256
const DEFAULT_TIMEOUT_MS = 30_000
const MIN_TIMEOUT_MS = 100
const MAX_TIMEOUT_MS = 600_000
const DEFAULT_OUTPUT_BYTES = 65_536
const MAX_OUTPUT_BYTES = 1_048_576

export const EXEC_INPUTS: readonly Input[] = [
  input('id', 'string', 'Id of the instance; of a service, if id_type says so.', true),
  input('id_type', 'string', 'What the id is of: INSTANCE_ID or SERVICE_ID.'),
  input('command', 'array', 'The command and its arguments. There is no shell: give ["/bin/sh", "-c", "…"] for one.', true),
  input('stdin', 'string', 'What the command reads from its standard input.'),
  input('stdin_encoding', 'string', 'How stdin is given: utf-8 or base64.'),
  input('tty', 'boolean', 'Run on a terminal, which mixes stderr into stdout.'),
  input('tty_size', 'object', 'The size of that terminal: height and width.'),
  input('timeout_ms', 'integer', 'The command is ended after this time.'),
  input('max_output_bytes', 'integer', 'How much of each stream is kept.'),
]

const WIRE_NAMES = ['body.command', 'body.tty_size.height', 'body.tty_size.width', 'body.stdin.data', 'body.stdin.close', 'body.disableTty']

export interface ExecRequest {
  readonly id: string
  readonly idType: 'INSTANCE_ID' | 'SERVICE_ID'
  readonly command: readonly string[]
  readonly stdin: Buffer | null
  readonly isTty: boolean
  readonly size: { readonly height: number; readonly width: number } | null
  readonly timeoutMs: number
  readonly maxOutputBytes: number
}

/** Koyeb's wire names, and those that the document's `with` refers to. */
export function execAliases(given: With, namespaces: readonly string[]): readonly string[] {
  const own = EXEC_INPUTS.map((each) => each.name)
  const referred = Object.values(given).flatMap((value) => referredInput(value, namespaces) ?? [])
  return [...new Set([...WIRE_NAMES, ...referred])].filter((name) => !own.includes(name))
}

/** The exec that a call's values mean. */
export function readExec(values: JsonObject): ExecRequest {
  const faults: FieldError[] = []
  const fault = (field: string, description: string): void => void faults.push({ field, description })
  const pick = (...names: readonly string[]): Json | undefined => names.map((name) => lookUp(values, name)).find((each) => each !== undefined && each !== null)

  const id = pick('id')
  if (typeof id !== 'string' || id === '') fault('id', 'is required.')
  const idType = pick('id_type', 'idType') ?? 'INSTANCE_ID'
  if (idType !== 'INSTANCE_ID' && idType !== 'SERVICE_ID' && idType !== 'INVALID') fault('id_type', 'must be INSTANCE_ID or SERVICE_ID.')

  const raw = pick('command', 'body.command')
  const command = typeof raw === 'string' ? [raw] : raw
  if (!isTextList(command) || command.length === 0) fault('command', 'must be a list of texts with at least the program.')
  else if (command.length > MAX_ARGUMENTS) fault('command', `has ${command.length} words, and ${MAX_ARGUMENTS} is the most.`)

  const disableTty = flagOf(pick('body.disableTty', 'body.disable_tty'))
  const tty = flagOf(pick('tty'))
  const size = readSize(pick('tty_size'), pick('body.tty_size.height'), pick('body.tty_size.width'), fault)
  const stdin = readStdin(pick('stdin'), pick('stdin_encoding'), pick('body.stdin.data'), fault)
  const timeoutMs = bounded(pick('timeout_ms'), 'timeout_ms', MIN_TIMEOUT_MS, MAX_TIMEOUT_MS, DEFAULT_TIMEOUT_MS, fault)
  const maxOutputBytes = bounded(pick('max_output_bytes'), 'max_output_bytes', 1, MAX_OUTPUT_BYTES, DEFAULT_OUTPUT_BYTES, fault)
  if (faults.length > 0 || typeof id !== 'string' || !isTextList(command)) throw invalid(faults)
  return {
    id,
    idType: idType === 'SERVICE_ID' ? 'SERVICE_ID' : 'INSTANCE_ID',
    command,
    stdin,
    isTty: tty ?? (disableTty === false),
    size,
    timeoutMs,
    maxOutputBytes,
  }
}

type Fault = (field: string, description: string) => void

function readSize(size: Json | undefined, height: Json | undefined, width: Json | undefined, fault: Fault): ExecRequest['size'] {
  const rows = isObject(size) ? size['height'] : height
  const columns = isObject(size) ? size['width'] : width
  if (rows === undefined && columns === undefined) return null
  const [high, wide] = [rows ?? 24, columns ?? 80].map(Number)
  const isFit = (value: number | undefined): value is number => value !== undefined && Number.isInteger(value) && value >= 1 && value <= 10_000
  if (isFit(high) && isFit(wide)) return { height: high, width: wide }
  fault('tty_size', 'must have a height and a width from 1 to 10000.')
  return null
}

function readStdin(text: Json | undefined, encoding: Json | undefined, wire: Json | undefined, fault: Fault): Buffer | null {
  const isBase64 = text === undefined || encoding === 'base64'
  const value = text ?? wire
  if (value === undefined) return null
  if (encoding !== undefined && encoding !== 'base64' && encoding !== 'utf-8') fault('stdin_encoding', 'must be utf-8 or base64.')
  const field = text === undefined ? 'body.stdin.data' : 'stdin'
  if (typeof value !== 'string') {
    fault(field, 'must be a text.')
    return null
  }
  if (!isBase64) return Buffer.from(value, 'utf8')
  // A plus in a query is a space; both alphabets are taken.
  const plain = value.replaceAll(' ', '+').replaceAll('-', '+').replaceAll('_', '/')
  if (/^[A-Za-z0-9+/]*={0,2}$/.test(plain) && plain.replace(/=+$/, '').length % 4 !== 1) return Buffer.from(plain, 'base64')
  fault(field, 'is not base64.')
  return null
}

function bounded(value: Json | undefined, field: string, least: number, most: number, fallback: number, fault: Fault): number {
  if (value === undefined) return fallback
  const number = Number(value)
  if (Number.isInteger(number) && number >= least && number <= most) return number
  fault(field, `must be a whole number from ${least} to ${most}.`)
  return fallback
}

function isTextList(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((each) => typeof each === 'string')
}

function flagOf(value: Json | undefined): boolean | null {
  if (value === true || value === 'true') return true
  return value === false || value === 'false' ? false : null
}

function input(name: string, type: ValueType, description: string, isRequired = false): Input {
  return { name, place: null, type, description, isRequired, pattern: null, value: null }
}
