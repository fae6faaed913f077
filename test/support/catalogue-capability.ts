/** A document of the kind that catalogues publish, run against an upstream that writes down what it is asked, with a client of MCP. */
import assert from 'node:assert/strict'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import type { CallToolResult } from '@modelcontextprotocol/client'
import { runDocument } from './capability.ts'
import type { RunningTest } from './capability.ts'
import { startUpstream } from './recording-upstream.ts'
import type { Recorded, RecordingUpstream } from './recording-upstream.ts'

export const TOKEN = 'a-token-of-the-capability'
/** A document of the catalogue's kind: references by `rest.` and `tools.`, no inputs, a key that nothing names. */
export const CATALOGUE = `
naftiko: 1.0.0-alpha2
info: { label: Things, description: Things }
binds:
  - namespace: env
    keys: { THINGS_KEY: THINGS_KEY }
capability:
  consumes:
    - type: http
      namespace: things
      baseUri: http://things.invalid
      resources:
        - name: some_things
          path: /things
          operations:
            - name: list
              method: GET
              inputParameters:
                - { name: kinds, in: query, type: array, description: Kinds }
                - { name: body.size, in: query, type: integer, description: Size }
                - { name: open, in: query, type: boolean }
                - { name: limit, in: query, type: string }
        - name: thing
          path: /things/{id}
          operations:
            - name: get
              method: GET
              inputParameters:
                - { name: id, in: path, type: string, description: The id, required: true }
        - name: thing-mustache
          path: /things/{{id}}/parts/{part}
          operations:
            - name: part
              method: GET
        - name: exec
          path: /v1/streams/instances/exec
          operations:
            - name: exec
              method: GET
              inputParameters: [{ name: id, in: query, type: string }, { name: body.command, in: query, type: array }]
  exposes:
    - type: rest
      namespace: things-rest
      port: 18081
      description: Things
      resources:
        - path: /v1/v1/things
          operations:
            - name: list
              method: GET
              call: things.list
              with: { kinds: rest.kinds, body.size: rest.body.size, open: things-rest.open, limit: 7 }
              outputParameters: [{ type: object, mapping: $. }]
        - path: /v1/v1/things/{id}
          operations:
            - name: get
              method: GET
              call: things.get
              with: { id: rest.id }
              outputParameters: [{ type: object, mapping: $. }]
        - path: /v1/v1/things/{{id}}/parts/{part}
          operations:
            - name: part
              method: GET
              call: things.part
        - path: /v1/v1/exec
          operations:
            - name: exec
              method: GET
              call: things.exec
              with: { id: rest.id, body.command: rest.body.command }
    - type: mcp
      namespace: things-mcp
      port: 19091
      tools:
        - name: list-things
          description: Things
          call: things.list
          with: { kinds: tools.kinds, body.size: tools.body.size, open: tools.open, limit: literal }
          outputParameters: [{ type: object, mapping: $. }]
        - name: get-thing
          description: A thing
          call: things.get
          with: { id: tools.id }
        - name: exec
          description: Runs
          hints: { readOnly: true, destructive: false, idempotent: true }
          call: things.exec
          with: { id: tools.id, body.command: tools.body.command }
`

export interface CatalogueLab extends AsyncDisposable {
  readonly upstream: RecordingUpstream
  readonly running: RunningTest
  readonly client: Client
  /** As it was at first: an upstream that answers 200, and nothing written down. */
  reset(): void
  replyWith(status: number, body: string, headers?: Readonly<Record<string, string>>): void
  /** What the upstream was asked last. */
  asked(): Recorded
  call(name: string, args: Record<string, unknown>): Promise<CallToolResult>
}

export async function startCatalogue(): Promise<CatalogueLab> {
  const upstream = await startUpstream()
  const running = await runDocument(CATALOGUE, upstream.url, { env: { THINGS_KEY: TOKEN }, timeouts: { connectMs: 500, totalMs: 1500 } })
  const client = new Client({ name: 'test', version: '1' })
  await client.connect(new StreamableHTTPClientTransport(new URL(running.mcp)))
  const lab: CatalogueLab = {
    upstream,
    running,
    client,
    reset() {
      lab.replyWith(200, '{"ok":true,"deep":{"list":[1,2]}}')
      upstream.exec = null
      upstream.requests.length = 0
      upstream.execs.length = 0
    },
    replyWith(status, body, headers = { 'content-type': 'application/json' }) {
      upstream.answer = (_, response) => void response.writeHead(status, headers).end(body)
    },
    asked() {
      const last = upstream.requests.at(-1)
      assert.ok(last !== undefined, 'nothing was asked upstream')
      return last
    },
    call: (name, args) => client.callTool({ name, arguments: args }),
    async [Symbol.asyncDispose]() {
      await client.close()
      await running[Symbol.asyncDispose]()
      await upstream[Symbol.asyncDispose]()
    },
  }
  lab.reset()
  return lab
}

export const errorOf = (result: { structuredContent?: unknown }) => (result.structuredContent as { error: { code: string; status: number; message: string } }).error
