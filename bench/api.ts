/**
 * What the API answers in a second, beside a bare Fastify route that returns the same bytes; and what a list costs
 * with a hundred thousand instances beside one with a thousand. Both of a pair are asked in turn, many times, in one
 * run: a busy machine slows them alike, and the median of the ratios is what counts. Both have answered as many
 * requests before: a program that has run for a while has been compiled further, and answers in half the time.
 *
 * The client is raw sockets that count bytes, so that it is never what is measured.
 */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { serverWithMany } from '../test/support/many-instances.ts'
import { eventually } from '../test/support/server.ts'
import type { TestServer } from '../test/support/server.ts'
import type { Figure } from './figure.ts'
import { figureOf } from './figure.ts'
import { packedServer } from './program.ts'

const CONNECTIONS = 32
const ROUND_MS = 250
/** Rounds for each sample that is asked for. */
const ROUNDS_EACH = 4
/** Pairs of single requests in one sample of how a list grows. */
const PAIRS = 100
const WARM_UP_MS = 2000
const FEW = 1000
const MANY = 100_000
const GET = '/v1/instances/00000002-0000-4000-8000-000000000000'
const LIST = '/v1/instances?limit=100'
const EVENTS = '/v1/instance_events?limit=100&order=desc'
const BARE = join(import.meta.dirname, 'bare-route.ts')

export async function apiFigures(rounds: number): Promise<Readonly<Record<string, Figure>>> {
  const figures: Record<string, Figure> = {}
  const main = await packedServer()
  await using few = await serverWithMany(FEW, { main })
  await using many = await serverWithMany(MANY, { main })
  for (const [name, path] of [['get', GET], ['list', LIST]] as const) {
    const { body } = await few.server.request('GET', path)
    const bare = await bareRoute(JSON.stringify(body))
    try {
      const { mine, others, ratios } = await inTurn(rounds, { url: few.server.url, path, key: few.server.key }, { url: bare.url, path: '/', key: null })
      figures[`api_${name}`] = figureOf('req/s', mine)
      figures[`api_${name}_bare`] = figureOf('req/s', others)
      figures[`api_${name}_part`] = figureOf('%', ratios.map(ratio => ratio * 100))
    } finally {
      bare.child.kill()
      await once(bare.child, 'close')
    }
  }
  const nothing = { few: async () => {}, many: async () => {} }
  const commits = { few: await committer(few.server), many: await committer(many.server) }
  for (const [name, path, before] of [['list', LIST, nothing], ['list_changed', LIST, commits], ['events', EVENTS, nothing]] as const) {
    const growth = await growthOf(rounds, before, { few: { url: few.server.url, path, key: few.server.key }, many: { url: many.server.url, path, key: many.server.key } })
    figures[`api_${name}_growth`] = figureOf('%', growth.map(ratio => ratio * 100))
  }
  return figures
}

/** Commits something, so that nothing that the server has read before holds any longer. */
async function committer(server: TestServer): Promise<() => Promise<void>> {
  const { body } = await server.request('POST', '/v1/apps', { body: { name: 'changes' } })
  const { app } = body as { readonly app: { readonly id: string } }
  let count = 0
  return async () => {
    const { status, text } = await server.request('PUT', `/v1/apps/${app.id}`, { body: { name: `changes-${++count}` } })
    if (status !== 200) throw new Error(`the app could not be changed: ${text}`)
  }
}

async function bareRoute(body: string): Promise<{ readonly url: string; readonly child: ChildProcess }> {
  const child = spawn(process.execPath, [BARE], { stdio: ['pipe', 'pipe', 'inherit'], env: { PATH: process.env['PATH'] ?? '' } })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
  child.stdin.end(body)
  const url = await eventually('the bare route listens', async () => /^(http:\S+)\n/.exec(output)?.[1] ?? null)
  return { url, child }
}

interface Target {
  readonly url: string
  readonly path: string
  readonly key: string | null
}

async function inTurn(rounds: number, one: Target, other: Target): Promise<{ readonly mine: number[]; readonly others: number[]; readonly ratios: number[] }> {
  const [mine, others]: [number[], number[]] = [[], []]
  for (const target of [one, other]) await requestsPerSecond(target, WARM_UP_MS)
  for (let round = 0; round < rounds * ROUNDS_EACH; round++) {
    // Whoever begins changes, so that neither has the better half of what the machine does meanwhile.
    if (round % 2 === 0) mine.push(await requestsPerSecond(one, ROUND_MS))
    others.push(await requestsPerSecond(other, ROUND_MS))
    if (round % 2 === 1) mine.push(await requestsPerSecond(one, ROUND_MS))
  }
  return { mine, others, ratios: mine.map((count, round) => count / (others[round] ?? Number.NaN)) }
}

interface Both<T> {
  readonly few: T
  readonly many: T
}

/** The time of one request with many over that with few, each the median of pairs that were asked one after the other. */
async function growthOf(samples: number, before: Both<() => Promise<void>>, targets: Both<Target>): Promise<number[]> {
  const sizes = ['few', 'many'] as const
  for (const size of sizes) await requestsPerSecond(targets[size], WARM_UP_MS)
  const growth: number[] = []
  const median = (times: readonly number[]) => times.toSorted((a, b) => a - b)[times.length >> 1] ?? Number.NaN
  // The first sample belongs to the warming up: of what only a first request after a commit does.
  for (let sample = -1; sample < samples; sample++) {
    const times: Both<number[]> = { few: [], many: [] }
    for (let pair = 0; pair < PAIRS; pair++) {
      for (const size of pair % 2 === 0 ? sizes : sizes.toReversed()) {
        await before[size]()
        times[size].push(await latency(targets[size]))
      }
    }
    if (sample >= 0) growth.push(median(times.many) / median(times.few))
  }
  return growth
}

/** Over kept connections, each with one request on its way at a time. */
export async function requestsPerSecond({ url, path, key }: Target, forMs: number): Promise<number> {
  const { hostname, port } = new URL(url)
  const head = `GET ${path} HTTP/1.1\r\nhost: ${hostname}\r\n${key === null ? '' : `authorization: Bearer ${key}\r\n`}\r\n`
  const until = performance.now() + forMs
  const begun = performance.now()
  const counts = await Promise.all(Array.from({ length: CONNECTIONS }, () => keepAsking(connect({ host: hostname, port: Number(port), noDelay: true }), head, until)))
  return (counts.reduce((sum, count) => sum + count, 0) * 1000) / (performance.now() - begun)
}

/** Milliseconds of one request over Node's own client and its kept connection. */
async function latency({ url, path, key }: Target): Promise<number> {
  const begun = performance.now()
  const answer = await fetch(`${url}${path}`, { headers: { authorization: `Bearer ${key ?? ''}` } })
  await answer.arrayBuffer()
  return performance.now() - begun
}

async function keepAsking(socket: Socket, head: string, until: number): Promise<number> {
  let count = 0
  let left = 0
  const over = Promise.withResolvers<void>()
  socket.on('error', over.reject)
  socket.on('close', () => over.reject(new Error('the server closed the connection')))
  socket.on('data', (chunk: Buffer) => {
    if (left === 0) {
      // The head comes whole: it is far smaller than a packet.
      const text = chunk.toString('latin1')
      const end = text.indexOf('\r\n\r\n')
      const length = /\r\ncontent-length: (\d+)\r\n/i.exec(text)?.[1]
      if (!text.startsWith('HTTP/1.1 200') || end < 0 || length === undefined) return over.reject(new Error(`answered ${text.slice(0, 300)}`))
      left = end + 4 + Number(length)
    }
    left -= chunk.length
    if (left > 0) return
    count += 1
    if (performance.now() < until) socket.write(head)
    else over.resolve()
  })
  socket.write(head)
  try {
    await over.promise
    return count
  } finally {
    socket.removeAllListeners('close')
    socket.destroy()
  }
}
