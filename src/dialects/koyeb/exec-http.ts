/**
 * exec over plain HTTP: the query is the first frame, the body (if there is one) holds more, one per line.
 *
 * Generated clients read the whole answer and parse one JSON document, so that is what they get: all output in one
 * `{"result":…}`. NDJSON, one object per line as it happens, is for those who ask for it, and for output that
 * outgrows what is collected.
 */
import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { ExecSession } from '../../engine/host-port.ts'
import { asBerthError, BerthError } from '../../instance/errors.ts'
import { fieldError, presentStatus } from './errors.ts'
import { begin, exitCode, feed, hangUp, hasTerminal, pumpOutput, targetOf, tellNotFound } from './exec.ts'
import type { ExecFrame } from './frame.ts'
import { decodeBase64, exitReply, outputReply, readFrame, ttySize } from './frame.ts'
import { queryBoolean, queryInteger, queryText, queryValues } from './query.ts'
import type { ExecReply, StreamResult } from './schema.ts'
import { Slot } from './slot.ts'
import type { Surface } from './surface.ts'
import { callerOf } from './surface.ts'

/** Output that is collected for one document; more of it makes the answer NDJSON. */
export const COLLECT_LIMIT_BYTES = 1024 * 1024
const NDJSON = 'application/x-ndjson'
/** One line of a body of frames. */
const LINE_LIMIT_CHARACTERS = 4 * 1024 * 1024

export async function execOverHttp(surface: Surface, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const first = queryFrame(request)
  const wantsLines = (request.headers.accept ?? '').includes(NDJSON)
  const lines = bodyLines(request)
  const start = first.command === null && lines !== null ? await firstLine(lines) : first
  const session = await begin(surface, callerOf(request), start, targetOf(request), 'pipes')
  const steps = session === null ? notFound(start) : repliesOf(session, start, lines, reply)
  if (wantsLines) return reply.type(NDJSON).send(Readable.from(asLines(steps)))
  const collected = await collect(steps)
  if (collected.rest === null) return reply.type('application/json').send({ result: collected.whole } satisfies StreamResult<ExecReply>)
  return reply.type(NDJSON).send(Readable.from(asLines(chained(collected.parts, collected.rest))))
}

/**
 * A command that a mere link would run: nobody but a client of this API may ask for it. A page elsewhere has no
 * token, but what holds one for it (a proxy, say) would lend it.
 */
export function refuseLinks({ headers }: Pick<FastifyRequest, 'headers'>): void {
  const purpose = `${String(headers['sec-purpose'] ?? '')} ${String(headers['purpose'] ?? '')}`.toLowerCase()
  if (headers['sec-fetch-site'] === 'cross-site') throw new BerthError('forbidden', 'A page of another site may not run commands here.')
  if (/prefetch|prerender|preview/.test(purpose)) throw new BerthError('forbidden', 'Commands are not run ahead of time: this request says that it is a prefetch.')
}

/** The query as a frame. */
export function queryFrame(request: FastifyRequest): ExecFrame {
  const command = queryValues(request, 'body.command')
  const data = queryText(request, 'body.stdin.data')
  return {
    id: null,
    idType: null,
    command: command.length === 0 ? null : command,
    size: ttySize(queryInteger(request, 'body.tty_size.height'), queryInteger(request, 'body.tty_size.width')),
    stdin: data === null ? null : decodeBase64(data.replaceAll(' ', '+')),
    closeStdin: queryBoolean(request, 'body.stdin.close') ?? false,
    disableTty: queryBoolean(request, 'body.disableTty'),
  }
}

async function* repliesOf(session: ExecSession, first: ExecFrame, lines: AsyncIterator<ExecFrame> | null, reply: FastifyReply): AsyncGenerator<ExecReply> {
  const queue = new Slot<ExecReply>()
  const leave = () => {
    if (!reply.raw.writableFinished) hangUp(session)
  }
  reply.raw.once('close', leave)
  const isTerminal = hasTerminal(first, 'pipes')
  const input = (async () => {
    await feed(session, first, isTerminal)
    for (let next = await lines?.next(); next !== undefined && next.done !== true; next = await lines?.next()) await feed(session, next.value, isTerminal)
    if (!isTerminal) await feed(session, { ...first, size: null, stdin: null, closeStdin: true }, false)
  })()
  input.catch((error: unknown) => queue.fail(error))
  const output = (async () => {
    await pumpOutput(session, one => queue.put(one))
    await queue.put(exitReply(exitCode(await session.exit)))
    queue.end()
  })()
  output.catch((error: unknown) => queue.fail(error))
  try {
    yield* queue.read()
  } finally {
    reply.raw.removeListener('close', leave)
    session.close()
  }
}

async function* notFound(first: ExecFrame): AsyncGenerator<ExecReply> {
  const told: ExecReply[] = []
  await tellNotFound({ ...first, disableTty: !hasTerminal(first, 'pipes') }, async one => void told.push(one))
  yield* told
}

interface Collected {
  readonly whole: ExecReply
  readonly parts: readonly ExecReply[]
  /** What is still to come, where it is too much for one document. */
  readonly rest: AsyncGenerator<ExecReply> | null
}

async function collect(steps: AsyncGenerator<ExecReply>): Promise<Collected> {
  const parts: ExecReply[] = []
  let characters = 0
  for (let next = await steps.next(); next.done !== true; next = await steps.next()) {
    parts.push(next.value)
    characters += (next.value.stdout?.data.length ?? 0) + (next.value.stderr?.data.length ?? 0)
    if (characters > (COLLECT_LIMIT_BYTES * 4) / 3 && !next.value.exited) return { whole: next.value, parts, rest: steps }
  }
  return { whole: joined(parts), parts, rest: null }
}

function joined(parts: readonly ExecReply[]): ExecReply {
  const all = (stream: 'stdout' | 'stderr') => {
    const data = Buffer.concat(parts.flatMap(part => (part[stream] === null ? [] : Buffer.from(part[stream].data, 'base64'))))
    const io = outputReply(stream, data)[stream]
    return io === null ? null : { ...io, close: true }
  }
  return { stdout: all('stdout'), stderr: all('stderr'), exited: true, exit_code: parts.at(-1)?.exit_code ?? 0 }
}

async function* chained(before: readonly ExecReply[], after: AsyncGenerator<ExecReply>): AsyncGenerator<ExecReply> {
  yield* before
  yield* after
}

/** After the first byte an error is one more line. */
async function* asLines(steps: AsyncGenerator<ExecReply>): AsyncGenerator<string> {
  try {
    for await (const result of steps) yield `${JSON.stringify({ result } satisfies StreamResult<ExecReply>)}\n`
  } catch (error) {
    yield `${JSON.stringify({ error: presentStatus(asBerthError(error)) } satisfies StreamResult<ExecReply>)}\n`
  }
}

/** Frames of a body, or null if there is none. The framework leaves the body of a GET unread. */
function bodyLines(request: FastifyRequest): AsyncIterator<ExecFrame> | null {
  const { headers } = request
  const hasBody = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
  return hasBody ? framesOf(request.raw) : null
}

async function* framesOf(source: AsyncIterable<Uint8Array>): AsyncGenerator<ExecFrame> {
  const decoder = new TextDecoder()
  let text = ''
  for await (const piece of source) {
    text += decoder.decode(piece, { stream: true })
    const lines = text.split('\n')
    text = lines.pop() ?? ''
    if (text.length > LINE_LIMIT_CHARACTERS) throw fieldError('body', `a frame has at most ${LINE_LIMIT_CHARACTERS} characters`)
    for (const line of lines) if (line.trim() !== '') yield readFrame(line)
  }
  if (text.trim() !== '') yield readFrame(text)
}

async function firstLine(lines: AsyncIterator<ExecFrame>): Promise<ExecFrame> {
  const next = await lines.next()
  if (next.done === true) throw fieldError('body.command', 'the first frame must hold a command')
  return next.value
}
