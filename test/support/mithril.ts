/**
 * What tests of the Mithril dialect stand on: the published contract as a judge of every answer, and what no schema
 * says: FastAPI's shapes of errors, nothing but `detail` in them, never HTML, never a 5xx but the one that is declared.
 *
 * The contract lies beside the checkout and is not part of it; a clone without it skips the check visibly. It marks
 * members as `nullable`, which a `$ref` beside it hides from validators.
 */
import assert from 'node:assert/strict'
import { contractFile, openContract, pointerTo, withNulls } from './published-contract.ts'
import type { Answer, RequestOptions, TestServer } from './server.ts'

export const MITHRIL_CONTRACT_FILE = contractFile('mithril')

type Json = Readonly<Record<string, unknown>>

export interface Issue {
  readonly type: string
  readonly loc: readonly (string | number)[]
  readonly msg: string
}

export interface MithrilContract {
  check(method: string, path: string, answer: Answer): void
  /** `GET /v2/instances 200`, … that were judged so far. */
  readonly judged: ReadonlySet<string>
}

/** Two modes of one path answer with what the document declares as a schema and nowhere uses. */
const AVAILABILITY = '/v2/reservation/availability'
const AVAILABILITY_MODES = [
  [/[?&]mode=slots(?:&|$)/, null],
  [/[?&]mode=check(?:&|$)/, 'CheckAvailabilityResponse'],
  [/^/, 'GetLatestEndTimeResponse'],
] as const

/** The contract, or null where it isn't beside the checkout. */
export function loadMithrilContract(): MithrilContract | null {
  const contract = openContract('mithril', { formats: ['datetime'], mend: document => withNulls(document, nullable) })
  if (contract === null) return null
  const schema = (name: string) => pointerTo('components', 'schemas', name)
  return {
    judged: contract.judged,
    check(method, path, answer) {
      const { label, response, pointer } = contract.declared(method, path, answer.status)
      if (answer.status < 300) assert.ok(response, `${label} is not declared`)
      const mode = path.startsWith(AVAILABILITY) && answer.status === 200 ? AVAILABILITY_MODES.find(([pattern]) => pattern.test(path))?.[1] : undefined
      if (mode !== undefined && mode !== null) contract.judge(label, schema(mode), answer.body)
      else if (pointer !== null) contract.judge(label, pointer, answer.body)
    },
  }
}

/** Requests whose answers are all judged. Paths are below /v2. */
export function judgedMithrilCalls(server: () => TestServer, contract: MithrilContract | null) {
  return async (method: string, path: string, options: RequestOptions = {}): Promise<Answer> => {
    const answer = await server().request(method, `/v2${path}`, options)
    const { status, text } = answer
    const label = `${method} ${path} ${status}: ${text.slice(0, 500)}`
    assert.ok([200, 201, 204, 207].includes(status) || (status >= 400 && status < 500) || status === 501, label)
    if (status === 204) assert.equal(text, '', label)
    else assert.match(answer.headers.get('content-type') ?? '', /^application\/json/, label)
    if (status >= 400) checkError(answer, label)
    contract?.check(method, `/v2${path}`, answer)
    return answer
  }
}

export function bodyOf<T>(answer: Answer): T {
  assert.ok(answer.status < 300, `${answer.status} ${answer.text}`)
  return answer.body as T
}

/** `query.limit: int_parsing`, … of a 422. */
export function issuesOf(answer: Answer): readonly string[] {
  assert.equal(answer.status, 422, answer.text)
  return (answer.body as { readonly detail: readonly Issue[] }).detail.map(({ loc, type }) => `${loc.join('.')}: ${type}`)
}

export function detailOf(answer: Answer): unknown {
  return (answer.body as { readonly detail: unknown }).detail
}

function checkError(answer: Answer, label: string): void {
  const body = answer.body as Json
  assert.deepEqual(Object.keys(body), ['detail'], label)
  const { detail } = body
  if (Array.isArray(detail)) {
    assert.equal(answer.status, 422, label)
    assert.ok(detail.length > 0, label)
    for (const { type, loc, msg } of detail as readonly Issue[]) {
      assert.equal(typeof type, 'string', label)
      assert.equal(typeof msg, 'string', label)
      assert.ok(Array.isArray(loc) && loc.length > 0, label)
    }
  } else if (typeof detail === 'object') {
    assert.equal(typeof (detail as Json)['reason'], 'string', label)
  } else {
    assert.equal(typeof detail, 'string', label)
    assert.notEqual(answer.status, 422, label)
  }
  if (answer.status === 401) assert.equal(answer.headers.get('www-authenticate'), 'Bearer', label)
}

function nullable(schema: Json): Json {
  return schema['nullable'] === true && schema['$ref'] !== undefined ? { anyOf: [{ $ref: schema['$ref'] }, { type: 'null' }] } : schema
}
