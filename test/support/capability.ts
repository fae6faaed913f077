/** Runs capability documents in this process, on free ports, against a given upstream. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { parseCapability, readDocument } from '../../src/capability/document.ts'
import type { ReadDocument } from '../../src/capability/document.ts'
import { serveCapability } from '../../src/capability/serve.ts'
import type { ServeOptions } from '../../src/capability/serve.ts'

export const SECRET = 'koyeb-secret-key'
const REFERENCE = new URL('../../../shared/reference/', import.meta.url)
const CONTRACTS = new URL('../../../shared/contracts/', import.meta.url)

/** The path of a published document, or null where it isn't at hand. */
export function referenceDocument(name: string): string | null {
  const url = new URL(name, REFERENCE)
  return existsSync(url) ? url.pathname : null
}

export function contractDocument(name: string): string | null {
  const url = new URL(name, CONTRACTS)
  return existsSync(url) ? url.pathname : null
}

export interface RunningTest extends AsyncDisposable {
  readonly rest: string
  readonly mcp: string
  readonly log: string[]
  readonly document: ReadDocument
  readonly warnings: readonly string[]
  readonly get: (path: string, init?: RequestInit) => Promise<Response>
}

/** `source` is a path, or the text of a document. */
export async function runDocument(source: string, baseUri: string | null, options: Partial<ServeOptions> = {}): Promise<RunningTest> {
  const document = source.includes('\n') ? await parseCapability(source, process.cwd()) : await readDocument(source)
  const { capability } = document
  assert.ok(capability !== null, JSON.stringify(document.findings, null, 1))
  const log: string[] = []
  const running = await serveCapability(capability, {
    directory: document.directory,
    env: { KOYEB_API_KEY: SECRET },
    binds: {},
    baseUri,
    restPort: 0,
    mcpPort: 0,
    writeLog: (line) => void log.push(line),
    ...options,
  })
  const urlOf = (type: string): string => running.listening.find((each) => each.type === type)?.url ?? ''
  return {
    rest: urlOf('rest'),
    mcp: urlOf('mcp'),
    log,
    document,
    warnings: running.warnings,
    get: (path, init) => fetch(urlOf('rest') + path, init),
    [Symbol.asyncDispose]: () => running.close(),
  }
}

/** A document whose one unit calls `api.x` of its upstream, then runs a script step (`shaped`) with these fields. */
export function scriptDocument(script: string, mappings = '[]', control = ''): string {
  return `
naftiko: 1.0.0-alpha2
info: { label: Scripts, description: Scripts }
binds: [{ namespace: env, keys: { KEY: KEY } }]
capability:
  consumes:
    - { type: http, namespace: api, baseUri: http://api.invalid, authentication: { type: bearer, token: '{{KEY}}' }, resources: [{ name: x, path: /x, operations: [{ name: x, method: GET }] }] }
  exposes:
    - type: rest
      namespace: rest-scripts
      port: 1
      resources:
        - path: /x
          operations:
            - name: x
              method: GET
              inputParameters: [{ name: least, in: query, type: integer, description: The least }]
              steps:
                - { type: call, name: fetch-data, call: api.x }
                - { type: script, name: shaped, ${script} }
              mappings: ${mappings}
${control}
`
}
