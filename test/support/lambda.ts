/**
 * What tests of the Lambda dialect stand on: the published contract as a judge of every answer, and what no schema
 * says: one envelope, 200 only, never HTML, never null where a member may be left out.
 *
 * The contract lies beside the checkout and is not part of it; a clone without it skips the check visibly.
 */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Ajv } from 'ajv'
import type { ValidateFunction } from 'ajv'
import addFormats from 'ajv-formats'
import type { Answer, RequestOptions, TestServer } from './server.ts'

export const LAMBDA_CONTRACT_FILE = fileURLToPath(new URL('../../../shared/contracts/lambda.openapi.json', import.meta.url))
export const HEX_ID = /^[0-9a-f]{32}$/

interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, { readonly responses: Readonly<Record<string, unknown>> }>>>>
}

export interface LambdaContract {
  check(method: string, path: string, answer: Answer): void
  /** `GET /api/v1/instances 200`, … that were judged so far. */
  readonly judged: ReadonlySet<string>
}

/** The contract, or null where it isn't beside the checkout. */
export function loadLambdaContract(): LambdaContract | null {
  if (!existsSync(LAMBDA_CONTRACT_FILE)) return null
  const document = JSON.parse(readFileSync(LAMBDA_CONTRACT_FILE, 'utf8')) as Document
  const ajv = new Ajv({ strict: false, allErrors: true })
  addFormats.default(ajv)
  ajv.addSchema(document, 'lambda')
  const compiled = new Map<string, ValidateFunction>()
  const judged = new Set<string>()
  return {
    judged,
    check(method, path, answer) {
      const template = templateOf(document, path)
      const label = `${method} ${template ?? path} ${answer.status}`
      const declared = template === null ? undefined : document.paths[template]?.[method.toLowerCase()]?.responses[String(answer.status)]
      // What a key may not do has no code there that would be true: all it knows is an unpaid or unconfirmed account.
      if (template === null || declared === undefined || answer.status === 403) return
      const pointer = `/paths/${escaped(template)}/${method.toLowerCase()}/responses/${answer.status}/content/application~1json/schema`
      const validate = compiled.get(pointer) ?? ajv.compile({ $ref: `lambda#${pointer}` })
      compiled.set(pointer, validate)
      assert.ok(validate(answer.body), `${label}: ${ajv.errorsText(validate.errors)}\n${answer.text.slice(0, 2000)}`)
      judged.add(label)
    },
  }
}

/** Requests whose answers are all judged. Paths are below /api/v1. */
export function judgedLambdaCalls(server: () => TestServer, contract: LambdaContract | null) {
  return async (method: string, path: string, options: RequestOptions = {}): Promise<Answer> => {
    const answer = await server().request(method, `/api/v1${path}`, options)
    const label = `${method} ${path}: ${answer.text.slice(0, 500)}`
    assert.match(answer.headers.get('content-type') ?? '', /^application\/json/, label)
    assert.ok(answer.status === 200 || answer.status >= 400, label)
    assert.ok(answer.status < 500, label)
    assert.ok(!answer.text.includes('null'), label)
    const body = answer.body as { readonly error?: { readonly code?: unknown; readonly message?: unknown } }
    assert.deepEqual(Object.keys(body), [answer.status === 200 ? 'data' : 'error'], label)
    if (answer.status !== 200) {
      assert.equal(typeof body.error?.code, 'string', label)
      assert.equal(typeof body.error?.message, 'string', label)
    }
    contract?.check(method, `/api/v1${path}`, answer)
    return answer
  }
}

export function dataOf<T>(answer: Answer): T {
  assert.equal(answer.status, 200, answer.text)
  return (answer.body as { readonly data: T }).data
}

export function errorOf(answer: Answer): { readonly code: string; readonly message: string; readonly suggestion?: string } {
  return (answer.body as { readonly error: { code: string; message: string; suggestion?: string } }).error
}

function templateOf(document: Document, path: string): string | null {
  const parts = (path.split('?')[0] ?? '').split('/')
  const matching = Object.keys(document.paths).filter(template => {
    const pattern = template.split('/')
    return pattern.length === parts.length && pattern.every((part, index) => part.startsWith('{') || part === parts[index])
  })
  return matching.toSorted((a, b) => a.split('{').length - b.split('{').length)[0] ?? null
}

/** JSON pointer escapes, and the percent-encoding that a fragment needs. */
function escaped(part: string): string {
  return encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1'))
}
