/**
 * What the tests of the Hypeman surface on a simulated host share: one server a file, requests whose every answer
 * goes past the published contract, and the assertion of an error in the wire's own words.
 */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { openContract, pointerTo } from './published-contract.ts'
import type { Answer, RequestOptions, TestServer } from './server.ts'
import { eventually, startServer } from './server.ts'

export const IMAGE = 'localhost/busybox'
export const HYPEMAN_ID = /^[a-z][0-9a-z]{23}$/
export const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/
/** Codes whose call may work later. */
const RETRIED = ['insufficient_resources', 'rate_limited']

export interface ErrorBody {
  readonly code: string
  readonly message: string
}
export interface InstanceBody {
  readonly id: string
  readonly name: string
  readonly state: string
  readonly [key: string]: unknown
}
export interface VolumeBody {
  readonly id: string
  readonly [key: string]: unknown
}

export interface HypemanContract {
  /** Asserts that the answer is one that the contract allows; counts it. */
  check(method: string, path: string, answer: { readonly status: number; readonly body: unknown; readonly text: string }): void
  readonly judged: ReadonlySet<string>
}

/** The contract, or null where it isn't beside the checkout. Where it is silent about a status, the body is its `Error`. */
export function loadHypemanContract(): HypemanContract | null {
  const contract = openContract('hypeman')
  if (contract === null) return null
  const counted = new Set<string>()
  return {
    judged: counted,
    check(method, path, answer) {
      const { label, response, pointer } = contract.declared(method, path, answer.status)
      const isJson = response?.content?.['application/json'] !== undefined
      if (response !== null && response.content === undefined) assert.equal(answer.text, '', `${label} has no body`)
      else if (isJson && pointer !== null) contract.judge(label, pointer, answer.body)
      else if (answer.status >= 400) contract.judge(label, pointerTo('components', 'schemas', 'Error'), answer.body)
      counted.add(label)
    },
  }
}

export interface HypemanSuite {
  /** Of this file; there once its tests run. */
  readonly server: TestServer
  /** One request; its answer is judged by the contract, and is never a 500. */
  readonly call: (method: string, path: string, options?: RequestOptions) => Promise<Answer>
  /** A name that nothing else in this file has. */
  readonly unique: (prefix?: string) => string
  /** A small instance that runs, with what the body says. */
  readonly create: (body?: Readonly<Record<string, unknown>>) => Promise<InstanceBody>
  readonly get: (id: string) => Promise<InstanceBody>
  readonly createVolume: (body?: Readonly<Record<string, unknown>>) => Promise<VolumeBody>
}

/**
 * Starts a server for the file, with the built-in image ready, and at the end asserts that these operations went
 * past the contract with these statuses (`GET /instances 200`, …).
 */
export function hypemanSuite(judged: readonly string[], env: Readonly<Record<string, string>> = {}): HypemanSuite {
  const contract = loadHypemanContract()
  let running: TestServer | null = null
  let count = 0

  before(async () => {
    running = await startServer({ env })
    await eventually('the built-in image is ready', async () => {
      const { body } = await suite.call('POST', '/images', { body: { name: IMAGE } })
      return (body as { status: string }).status === 'ready' ? true : null
    })
  })
  after(async () => {
    await running?.stop()
    const missed = contract === null ? [] : judged.filter(label => !contract.judged.has(label))
    assert.deepEqual(missed, [], 'these operations were not held to the contract')
  })
  test('the contract is at hand', { skip: contract === null ? 'no ../shared/contracts beside this checkout' : false }, () => {
    assert.ok(contract)
  })

  const made = async (method: string, path: string, body: unknown): Promise<unknown> => {
    const answer = await suite.call(method, path, { body })
    assert.equal(answer.status, 201, answer.text)
    return answer.body
  }
  const suite: HypemanSuite = {
    get server() {
      assert.ok(running !== null, 'the server of this file has not started yet')
      return running
    },
    async call(method, path, options = {}) {
      const answer = await suite.server.request(method, path, options)
      contract?.check(method, path, answer)
      assert.notEqual(answer.status, 500, `${method} ${path}: ${answer.text}`)
      return answer
    },
    unique(prefix = 't') {
      count += 1
      return `${prefix}-${count}`
    },
    async create(body = {}) {
      return (await made('POST', '/instances', { name: suite.unique(), image: IMAGE, size: '128MB', vcpus: 1, ...body })) as InstanceBody
    },
    async get(id) {
      const answer = await suite.call('GET', `/instances/${id}`)
      assert.equal(answer.status, 200, answer.text)
      return answer.body as InstanceBody
    },
    async createVolume(body = {}) {
      return (await made('POST', '/volumes', { name: suite.unique('volume'), size_gb: 1, ...body })) as VolumeBody
    },
  }
  return suite
}

/** Asserts an error's status, code and words, and that a retry is declined where it can't help. */
export function refuses(answer: Answer, status: number, code: string, message?: string | RegExp): void {
  const body = answer.body as ErrorBody
  assert.equal(answer.status, status, answer.text)
  assert.equal(body.code, code, answer.text)
  assert.deepEqual(Object.keys(body).toSorted(), ['code', 'message'])
  if (typeof message === 'string') assert.equal(body.message, message)
  if (message instanceof RegExp) assert.match(body.message, message)
  if (status < 500 && !RETRIED.includes(code)) {
    assert.equal(answer.headers.get('x-should-retry'), 'false', `${status} ${code} tells SDKs not to retry`)
  }
}
