/**
 * The variables that a document binds, found once at the start, and the words that must never be shown. A variable
 * comes from the command line, else from its file, else from the environment; a missing one is named, its value never.
 */
import { readFile } from 'node:fs/promises'
import { isAbsolute, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { BerthError } from '../instance/errors.ts'
import type { Bind, Json, JsonObject } from './model.ts'
import { isObject } from './shape.ts'

/** Shorter values are too likely to be a part of something harmless: they are struck out only where they stand as a word. */
const SHORTEST_SECRET = 6
/** A file of variables is small. */
const MAX_FILE_BYTES = 1024 * 1024

export interface Variables {
  readonly values: Readonly<Record<string, string>>
  /** Text with every bound value struck out, in each of the forms in which it travels. */
  readonly redact: (text: string) => string
  /** The same of every text in a document. */
  readonly redactValue: <T extends Json>(value: T) => T
  /** Strikes out what became known later, such as a token, from now on. */
  readonly keepSecret: (secret: string) => void
}

export async function findVariables(
  binds: readonly Bind[],
  given: Readonly<Record<string, string>>,
  env: Readonly<Record<string, string | undefined>>,
  directory: string,
): Promise<Variables> {
  const values: Record<string, string> = {}
  const missing: string[] = []
  for (const bind of binds) {
    const file = bind.location === null ? null : await readVariables(bind.location, directory)
    for (const [name, key] of Object.entries(bind.keys)) {
      const value = given[name] ?? given[key] ?? (file === null ? env[key] : file[key])
      if (value === undefined || value === '') {
        missing.push(bind.location === null ? (name === key ? name : `${name} (the variable ${key})`) : `${name} (the key ${key} of ${bind.location})`)
        continue
      }
      values[name] = value
      values[`${bind.namespace}.${name}`] = value
    }
  }
  if (missing.length > 0) {
    const first = missing[0]?.split(' ')[0] ?? ''
    const what = missing.length === 1 ? `The variable ${missing[0]} is not set` : `These variables are not set: ${missing.join(', ')}`
    throw new BerthError('invalid_request', `${what}; set it in the environment or give --bind ${first}=….`)
  }
  const all = Object.values(values)
  const redactor = new Redactor(all, all)
  return { values, redact: (text) => redactor.strike(text), redactValue: (value) => redactor.strikeValue(value), keepSecret: (secret) => redactor.add(secret) }
}

async function readVariables(location: string, directory: string): Promise<Readonly<Record<string, string>>> {
  if (!location.startsWith('file:')) {
    throw new BerthError('not_supported', `Variables are read from the environment and from file: addresses, not from ${location}.`)
  }
  const path = location.startsWith('file:///') ? fileURLToPath(location) : resolveIn(directory, location.replace(/^file:\/\//, ''))
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown'
    throw new BerthError('invalid_request', `The file of variables ${path} can't be read (${code}).`, { cause: error })
  }
  if (text.length > MAX_FILE_BYTES) throw new BerthError('invalid_request', `The file of variables ${path} is larger than 1 MiB.`)
  let content: unknown
  try {
    content = parse(text)
  } catch {
    // The parser's words quote the line, which may hold a secret.
    throw new BerthError('invalid_request', `The file of variables ${path} is neither JSON nor YAML.`)
  }
  if (!isObject(content)) throw new BerthError('invalid_request', `The file of variables ${path} is not a flat map.`)
  return Object.fromEntries(Object.entries(content).flatMap(([key, value]) => (['string', 'number', 'boolean'].includes(typeof value) ? [[key, String(value)]] : [])))
}

const resolveIn = (directory: string, path: string): string => (isAbsolute(path) ? path : resolve(directory, path))

/** Tokens that were replaced since are forgotten when there are more than so many. */
const MAX_FORMS = 4096

/** Strikes out values in each of the forms in which they travel. */
export class Redactor {
  #forms: readonly string[] = []
  readonly #words: RegExp | null

  /** Of `words`, those that are too short to be looked for anywhere are struck out where they stand as a word. */
  constructor(secrets: readonly string[], words: readonly string[] = []) {
    for (const each of secrets) this.add(each)
    const short = words.filter((each) => each.length < SHORTEST_SECRET).flatMap((each) => [each, encodeURIComponent(each)])
    const pattern = [...new Set(short)].sort((a, b) => b.length - a.length).map((each) => each.replace(/[$()*+./?[\\\]^{|}]/g, '\\$&'))
    this.#words = pattern.length === 0 ? null : new RegExp(`(?<![\\p{L}\\p{N}_])(?:${pattern.join('|')})(?![\\p{L}\\p{N}_])`, 'gu')
  }

  add(secret: string): void {
    if (secret.length < SHORTEST_SECRET) return
    const forms = new Set([...formsOf(secret), ...this.#forms])
    this.#forms = [...forms].slice(0, MAX_FORMS).sort((a, b) => b.length - a.length)
  }

  strike(text: string): string {
    const whole = this.#forms.reduce((sum, each) => (sum.includes(each) ? sum.replaceAll(each, '***') : sum), text)
    return this.#words === null ? whole : whole.replace(this.#words, '***')
  }

  /** A document with its texts and keys struck out; a number that is a secret becomes a text. */
  strikeValue<T extends Json>(value: T): T {
    const text = JSON.stringify(value)
    return this.strike(text) === text ? value : (this.#walk(value) as T)
  }

  #walk(value: Json): Json {
    if (typeof value === 'string') return this.strike(value)
    if (typeof value === 'number') return this.#forms.some((each) => String(value).includes(each)) ? '***' : value
    if (Array.isArray(value)) return value.map((each) => this.#walk(each as Json))
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value as JsonObject).map(([key, each]) => [this.#struckKey(key), this.#walk(each)]))
  }

  /** Names of fields are no values: a short word may well be one. */
  #struckKey(key: string): string {
    return this.#forms.reduce((sum, each) => sum.replaceAll(each, '***'), key)
  }
}

/** As it is, percent-encoded (of a form, and in small letters too), in JSON, and in base64 at each of its three offsets. */
function formsOf(secret: string): readonly string[] {
  const encoded = [encodeURIComponent(secret), new URLSearchParams({ s: secret }).toString().slice(2)]
  const small = encoded.map((each) => each.replace(/%[0-9A-F]{2}/g, (code) => code.toLowerCase()))
  const inJson = JSON.stringify(secret).slice(1, -1)
  const inBase64 = [0, 1, 2].flatMap((offset) => {
    const bytes = Buffer.concat([Buffer.alloc(offset), Buffer.from(secret)])
    // The characters at both ends also carry bits of the neighbours.
    const inner = bytes.toString('base64').replace(/=+$/, '').slice(offset === 0 ? 0 : offset + 1, -1)
    return inner.length >= 8 ? [inner, inner.replaceAll('+', '-').replaceAll('/', '_')] : []
  })
  return [secret, ...encoded, ...small, inJson, JSON.stringify(inJson).slice(1, -1), ...inBase64]
}
