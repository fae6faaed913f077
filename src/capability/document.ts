/**
 * Reads a capability document: YAML, then the grammar, then what must hold between its parts. What is found carries
 * the line it is about; a document with errors is told about and not run.
 */
import { createReadStream } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { LineCounter, isNode, parseDocument } from 'yaml'
import type { Document } from 'yaml'
import { BerthError } from '../instance/errors.ts'
import { grammar } from './grammar/grammar.ts'
import type { Spelling } from './grammar/spelling.ts'
import { implicitCredential, lintCapability } from './lint.ts'
import type { Capability, ConsumedOperation } from './model.ts'
import { readCapability } from './reader.ts'
import { withScripts } from './script/files.ts'
import { fail, isObject, spellPath } from './shape.ts'
import type { Finding } from './shape.ts'

/** Documents are written by people; the largest of the published catalogues are a few hundred KiB. */
const MAX_DOCUMENT_BYTES = 8 * 1024 * 1024
/** How far imports may lead on, and how many there may be in all. */
const MAX_IMPORT_DEPTH = 8
const MAX_IMPORTS = 256
/** Aliases in YAML may not multiply a small file into a large one. */
const MAX_ALIASES = 100

export interface ReadDocument {
  /** Null if the document has errors. */
  readonly capability: Capability | null
  readonly findings: readonly Finding[]
  /** Where relative addresses of the document begin. */
  readonly directory: string
}

export async function readDocument(file: string): Promise<ReadDocument> {
  const path = resolve(file)
  return parseCapability(await readText(path), dirname(path))
}

export async function parseCapability(text: string, directory: string): Promise<ReadDocument> {
  const findings: Finding[] = []
  const { raw, locate } = parseYaml(text, findings)
  const report = (finding: Finding): void => void findings.push({ ...finding, ...locate(finding.path) })
  const done = (capability: Capability | null): ReadDocument => ({
    capability: findings.some((each) => each.severity === 'error') ? null : capability,
    findings: findings.toSorted((a, b) => (a.line ?? 0) - (b.line ?? 0)),
    directory,
  })
  if (findings.length > 0) return done(null)
  const spelling = findSpelling(raw)
  if (spelling === null || !isObject(raw)) {
    fail(report, [], 'root', 'is no capability document: it needs "naftiko" or "ikanos" at its root.')
    return done(null)
  }
  grammar(spelling)(raw, [], report)
  if (findings.some((each) => each.severity === 'error')) return done(null)
  const whole = await resolveImports(raw, spelling, directory, report)
  if (findings.some((each) => each.severity === 'error')) return done(null)
  const capability = readCapability(whole)
  lintCapability(capability, whole, report)
  if (findings.some((each) => each.severity === 'error')) return done(null)
  const prepared = await withScripts(await withSchemas(capability, directory, report), whole['capability'] === undefined ? [] : ['capability'], report)
  return done(withImplicitCredential(prepared))
}

/** Reads the schemas of formats that have one, so that a missing file is told at the start. */
async function withSchemas(capability: Capability, directory: string, report: (finding: Finding) => void): Promise<Capability> {
  const prepare = async (operation: ConsumedOperation): Promise<ConsumedOperation> => {
    const { format, outputSchema } = operation
    if ((format !== 'avro' && format !== 'protobuf') || outputSchema === null) return operation
    try {
      const { makeSchemaReader } = await import('./schema-format.ts')
      return { ...operation, readBody: makeSchemaReader(format, await readText(resolve(directory, outputSchema))) }
    } catch (error) {
      const why = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error)
      fail(report, ['capability', 'consumes'], 'schema', `have an operation "${operation.name}" whose schema ${outputSchema} can't be used: ${why}`)
      return operation
    }
  }
  const consumes = await Promise.all(capability.consumes.map(async (each) => ({ ...each, operations: await Promise.all(each.operations.map(prepare)) })))
  return { ...capability, consumes }
}

/** Catalogues bind a key and forget to use it: the one bound variable that nothing names is the bearer token. */
function withImplicitCredential(capability: Capability): Capability {
  const name = implicitCredential(capability)
  if (name === null) return capability
  const consumes = capability.consumes.map((each) => ({ ...each, authentication: { type: 'bearer' as const, token: `{{${name}}}` } }))
  return { ...capability, consumes }
}

/** One line of a finding: where, how grave, which rule, and the sentence. */
export function spellFinding(file: string, finding: Finding): string {
  const place = finding.line === undefined ? file : `${file}:${finding.line}:${finding.column ?? 1}`
  return `${place}: ${finding.severity}: ${spellPath(finding.path)} ${finding.message} [${finding.rule}]`
}

/** Findings with one of each sentence: generated documents repeat themselves. */
export function foldFindings(findings: readonly Finding[]): readonly Finding[] {
  const folded = new Map<string, { readonly first: Finding; count: number }>()
  for (const each of findings) {
    const key = `${each.rule} ${each.severity} ${each.message}`
    const known = folded.get(key)
    if (known === undefined) folded.set(key, { first: each, count: 1 })
    else known.count += 1
  }
  return [...folded.values()].map(({ first, count }) => (count === 1 ? first : { ...first, message: `${first.message} (${count} times)` }))
}

function findSpelling(raw: unknown): Spelling | null {
  if (!isObject(raw)) return null
  if (raw['naftiko'] !== undefined) return 'naftiko'
  return raw['ikanos'] === undefined ? null : 'ikanos'
}

interface Parsed {
  readonly raw: unknown
  readonly locate: (path: readonly (string | number)[]) => { line?: number; column?: number }
}

function parseYaml(text: string, findings: Finding[]): Parsed {
  const lines = new LineCounter()
  let document: Document
  try {
    document = parseDocument(text, { lineCounter: lines, uniqueKeys: true })
  } catch {
    // The parser calls itself for each level, and its stack ends where no document of a person would.
    findings.push({ severity: 'error', rule: 'yaml', path: [], message: 'is nested too deeply to be read.' })
    return { raw: null, locate: () => ({}) }
  }
  for (const error of document.errors) {
    const [at] = error.linePos ?? []
    const message = `is not YAML: ${error.message.split('\n')[0]?.replace(/ at line \d+.*$/, '') ?? ''}.`
    findings.push({ severity: 'error', rule: 'yaml', path: [], message, ...(at === undefined ? {} : { line: at.line, column: at.col }) })
  }
  if (findings.length > 0) return { raw: null, locate: () => ({}) }
  try {
    return { raw: document.toJS({ maxAliasCount: MAX_ALIASES }), locate: (path) => locate(document, lines, path) }
  } catch (error) {
    findings.push({ severity: 'error', rule: 'yaml', path: [], message: `can't be read: ${error instanceof Error ? error.message : String(error)}.` })
    return { raw: null, locate: () => ({}) }
  }
}

/** The line of a path, or of the nearest thing above it. */
function locate(document: Document, lines: LineCounter, path: readonly (string | number)[]): { line?: number; column?: number } {
  for (let count = path.length; count >= 0; count -= 1) {
    const node: unknown = count === 0 ? document.contents : document.getIn(path.slice(0, count), true)
    if (!isNode(node) || node.range === undefined || node.range === null) continue
    const { line, col } = lines.linePos(node.range[0])
    return { line, column: col }
  }
  return {}
}

type Raw = Readonly<Record<string, unknown>>

interface Imports {
  /** The documents that led here. */
  readonly chain: readonly string[]
  readonly total: { count: number }
}

/** Puts in what other documents share; an address is a file beside the document, never the network. */
async function resolveImports(raw: Raw, spelling: Spelling, directory: string, report: (finding: Finding) => void, imports: Imports = { chain: [], total: { count: 0 } }): Promise<Raw> {
  const resolvePart = async (holder: Raw, path: readonly string[]): Promise<Raw> => {
    const whole: Record<string, unknown> = { ...holder }
    for (const part of ['binds', 'consumes', 'aggregates', 'exposes']) {
      const entries = holder[part]
      if (!Array.isArray(entries)) continue
      whole[part] = await Promise.all(
        entries.map(async (entry: unknown, at) => {
          if (!isObject(entry) || entry['import'] === undefined) return entry
          return importEntry(entry, part, [...path, part, at])
        }),
      )
    }
    return whole
  }
  const importEntry = async (entry: Raw, part: string, path: readonly (string | number)[]): Promise<unknown> => {
    const from = String(entry['location'] ?? entry['from'])
    const refuse = (message: string): null => {
      fail(report, path, 'import', message)
      return null
    }
    if (imports.chain.length >= MAX_IMPORT_DEPTH) return refuse(`imports through more than ${MAX_IMPORT_DEPTH} documents.`)
    imports.total.count += 1
    if (imports.total.count > MAX_IMPORTS) return refuse(`is past the ${MAX_IMPORTS} imports that a document may have in all.`)
    if (/^[a-z][a-z0-9+.-]*:/i.test(from) && !from.startsWith('file:')) return refuse(`imports from ${from}: only files are imported.`)
    const file = from.startsWith('file:///') ? fileURLToPath(from) : resolve(directory, from.replace(/^file:\/\//, ''))
    if (imports.chain.includes(file)) return refuse(`imports from ${from}, which imports this document: they go in a circle.`)
    let other: unknown
    try {
      const findings: Finding[] = []
      other = parseYaml(await readText(file), findings).raw
      if (findings.length > 0) return refuse(`imports from ${from}, which ${findings[0]?.message ?? 'is broken.'}`)
    } catch (error) {
      return refuse(`imports from ${from}: ${error instanceof Error ? error.message : String(error)}`)
    }
    const theirs = findSpelling(other)
    if (theirs === null || !isObject(other)) return refuse(`imports from ${from}, which is no capability document.`)
    grammar(theirs)(other, [], (finding) => fail(report, path, finding.rule, `imports from ${from}, where ${spellPath(finding.path)} ${finding.message}`, finding.severity))
    const whole = await resolveImports(other, theirs, dirname(file), report, { ...imports, chain: [...imports.chain, file] })
    const shared = [whole, isObject(whole['capability']) ? whole['capability'] : {}].flatMap((holder) => (Array.isArray(holder[part]) ? (holder[part] as unknown[]) : []))
    const found = shared.filter(isObject).find((each) => each['namespace'] === entry['import'])
    if (found === undefined) return refuse(`imports "${String(entry['import'])}", which ${from} has not among its ${part}.`)
    return entry['as'] === undefined ? found : { ...found, namespace: entry['as'] }
  }
  const root = await resolvePart(raw, [])
  return isObject(raw['capability']) ? { ...root, capability: await resolvePart(raw['capability'], ['capability']) } : root
}

async function readText(path: string): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  try {
    // Piece by piece: a path may name what has no end.
    for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > MAX_DOCUMENT_BYTES) break
      chunks.push(chunk)
    }
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    const why = code === 'ENOENT' ? 'is not there' : `can't be read (${code ?? 'unknown'})`
    throw new BerthError('invalid_request', `The document ${path} ${why}.`, { cause: error })
  }
  if (size > MAX_DOCUMENT_BYTES) throw new BerthError('invalid_request', `The document ${path} is larger than 8 MiB.`)
  return Buffer.concat(chunks).toString('utf8')
}
