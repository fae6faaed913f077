/**
 * What tests of the Lambda dialect stand on: the published contract as a judge of every answer, and what no schema
 * says: one envelope, 200 only, never HTML, never null where a member may be left out.
 *
 * The contract lies beside the checkout and is not part of it; a clone without it skips the check visibly.
 */
import assert from 'node:assert/strict'
import { contractFile, openContract } from './published-contract.ts'
import type { Answer, RequestOptions, TestServer } from './server.ts'

export const LAMBDA_CONTRACT_FILE = contractFile('lambda')
export const HEX_ID = /^[0-9a-f]{32}$/

export interface LambdaContract {
  check(method: string, path: string, answer: Answer): void
  /** `GET /api/v1/instances 200`, … that were judged so far. */
  readonly judged: ReadonlySet<string>
}

/** The contract, or null where it isn't beside the checkout. */
export function loadLambdaContract(): LambdaContract | null {
  const contract = openContract('lambda', { formats: ['ipv4network'] })
  if (contract === null) return null
  return {
    judged: contract.judged,
    check(method, path, answer) {
      const { label, pointer } = contract.declared(method, path, answer.status)
      // What a key may not do has no code there that would be true: all it knows is an unpaid or unconfirmed account.
      if (pointer !== null && answer.status !== 403) contract.judge(label, pointer, answer.body)
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
