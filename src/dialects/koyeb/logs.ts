/**
 * Logs: pages of the past, and a tail into the present; of one instance, or of all that stand below an app, a
 * service, a deployment.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { WebSocket } from 'ws'
import type { InstanceFilter } from '../../engine/api.ts'
import type { LogRecord } from '../../engine/host-port.ts'
import { asBerthError, BerthError } from '../../instance/errors.ts'
import { isUuidV4 } from '../../instance/ids.ts'
import type { Instance, InstanceId } from '../../instance/model.ts'
import type { Identity } from '../dialect.ts'
import { fieldError, presentStatus } from './errors.ts'
import { CLOSE, FrameSocket } from './frame-socket.ts'
import { placeOf } from './ids.ts'
import { scopeFilter } from './instances.ts'
import { firstPage } from './log-page.ts'
import type { Matcher } from './match.ts'
import { lineMatcher } from './match.ts'
import { presentListItem } from './present.ts'
import { queryEnum, queryInteger, queryList, queryPaging, queryText, queryTime } from './query.ts'
import type { RpcStatus } from './schema.ts'
import { Slot } from './slot.ts'
import type { Surface } from './surface.ts'
import { callerOf } from './surface.ts'
import { formatNullableTime, formatTime, wholeMicros } from './timestamp.ts'

/** The newest lines of an instance that a query looks through. */
const LINES_PER_INSTANCE = 20_000
const INSTANCES_LIMIT = 200
const QUERY_START_MS = 15 * 60_000
const TAIL_START_MS = 24 * 3_600_000
const TAIL_LINES = 1000
/** How often a tail looks for instances that were not there before. */
const TAIL_LOOK_MS = 2000
const STREAMS = ['stdout', 'stderr', 'koyeb'] as const
type Stream = (typeof STREAMS)[number]

interface Line {
  readonly at: number
  readonly stream: Stream
  readonly text: string
  readonly instance: Instance
}

interface LogEntry {
  readonly msg: string
  readonly created_at: string
  readonly labels: Readonly<Record<string, string>>
}

interface Wish {
  readonly caller: Identity
  /** Null if nothing can match. */
  readonly filter: InstanceFilter | null
  readonly streams: readonly Stream[]
  readonly regions: readonly string[] | null
  readonly matches: Matcher
}

export async function queryLogs(surface: Surface, request: FastifyRequest): Promise<unknown> {
  const wish = wishOf(request)
  const { limit, order } = queryPaging(request, { order: 'desc' })
  const now = surface.options.now()
  const start = queryTime(request, 'start') ?? now - QUERY_START_MS
  const end = queryTime(request, 'end') ?? now
  const all: Line[] = []
  for (const instance of await instancesOf(surface, wish)) {
    for (const line of await linesOf(surface, wish, instance)) if (line.at >= start && line.at <= end) all.push(line)
  }
  const wanted = wish.matches(all.map(line => line.text))
  const { lines, next } = firstPage(all.filter((_, index) => wanted[index] === true), order, limit, { start, end })
  return {
    data: lines.map(line => presentLine(surface, line)),
    pagination: {
      has_more: next !== null,
      next_start: formatNullableTime(next?.start ?? null),
      next_end: formatNullableTime(next?.end ?? null),
    },
  }
}

/** The tail as NDJSON, for who has no WebSocket. */
export async function tailOverHttp(surface: Surface, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const wish = wishOf(request)
  const gone = new AbortController()
  reply.raw.once('close', () => gone.abort())
  const entries = tail(surface, request, wish, AbortSignal.any([gone.signal, surface.options.stopping]))
  const lines = async function* () {
    try {
      for await (const result of entries) yield `${JSON.stringify({ result })}\n`
    } catch (error) {
      yield `${JSON.stringify({ error: presentStatus(asBerthError(error)) })}\n`
    }
  }
  return reply.type('application/x-ndjson').header('cache-control', 'no-store').send(Readable.from(lines()))
}

export async function serveTail(surface: Surface, socket: WebSocket, request: FastifyRequest): Promise<void> {
  const frames = new FrameSocket(socket)
  const { stopping } = surface.options
  stopping.addEventListener('abort', () => frames.close(CLOSE.goingAway), { signal: frames.gone })
  try {
    // What the client sends (the CLI: pings with text) needs no answer, but room.
    void (async () => {
      while ((await frames.nextText()) !== null);
    })()
    const ends = AbortSignal.any([frames.gone, stopping])
    for await (const result of tail(surface, request, wishOf(request), ends)) await frames.sendText({ result })
    frames.close(CLOSE.normal)
  } catch (error) {
    const known = asBerthError(error)
    if (known.code === 'internal') request.log.error({ err: error }, 'a tail of logs met an error of Berth’s own')
    if (frames.gone.aborted) return
    await frames.sendText({ error: presentStatus(known) satisfies RpcStatus }).catch(() => {})
    frames.close(known.code === 'internal' ? CLOSE.internal : CLOSE.policy)
  }
}

/** Lines there are, then lines as they come, of instances that there are and that come. */
async function* tail(surface: Surface, request: FastifyRequest, wish: Wish, signal: AbortSignal): AsyncGenerator<LogEntry> {
  const limit = Math.min(queryInteger(request, 'limit') || TAIL_LINES, TAIL_LINES)
  const start = queryTime(request, 'start') ?? surface.options.now() - TAIL_START_MS
  const slot = new Slot<Line>()
  const followed = new Set<InstanceId>()
  const ending = new AbortController()
  const ends = AbortSignal.any([signal, ending.signal])
  ends.addEventListener('abort', () => slot.end())
  const follow = async (instance: Instance) => {
    for await (const line of readLines(surface, wish, instance, { tail: limit, follow: true, signal: ends })) {
      if (line.at >= start && wish.matches([line.text])[0] === true) await slot.put(line)
    }
  }
  const look = async () => {
    while (!ends.aborted) {
      for (const instance of await instancesOf(surface, wish)) {
        if (followed.has(instance.id)) continue
        followed.add(instance.id)
        follow(instance).catch((error: unknown) => slot.fail(error))
      }
      await sleep(TAIL_LOOK_MS, undefined, { signal: ends }).catch(() => {})
    }
  }
  if (ends.aborted) return
  look().catch((error: unknown) => slot.fail(error))
  try {
    for await (const line of slot.read()) yield presentLine(surface, line)
  } finally {
    ending.abort()
  }
}

function wishOf(request: FastifyRequest): Wish {
  const caller = callerOf(request)
  const type = queryEnum(request, 'type', ['build', 'runtime'])
  const ids = [...(queryList(request, 'instance_ids') ?? []), ...(queryList(request, 'instance_id') ?? [])]
  const scopes = ['app_id', 'service_id', 'deployment_id', 'regional_deployment_id'].some(name => queryText(request, name) !== null)
  if (ids.length === 0 && !scopes) throw fieldError('instance_ids', 'give at least one of app_id, service_id, deployment_id, regional_deployment_id, instance_ids')
  const streams = [...(queryList(request, 'streams') ?? []), ...(queryList(request, 'stream') ?? [])]
  const scope = scopeFilter(request, caller)
  const filter = scope === null || ids.length === 0 ? scope : { ...scope, ids: ids.filter(isUuidV4) as InstanceId[] }
  return {
    caller,
    // Nothing is built here, so there is no log of it.
    filter: type === 'build' ? null : filter,
    // A client that wants none says `none`.
    streams: streams.length === 0 ? STREAMS : STREAMS.filter(stream => streams.includes(stream)),
    regions: queryList(request, 'regions'),
    matches: lineMatcher(queryText(request, 'regex'), queryText(request, 'text')),
  }
}

async function instancesOf(surface: Surface, wish: Wish): Promise<readonly Instance[]> {
  if (wish.filter === null) return []
  const found = await surface.engine.instances.list(wish.caller, { ...wish.filter, limit: INSTANCES_LIMIT })
  return found.filter(instance => wish.regions?.includes(presentListItem(instance, surface.catalogue).region) ?? true)
}

async function linesOf(surface: Surface, wish: Wish, instance: Instance): Promise<readonly Line[]> {
  const lines: Line[] = []
  const query = { tail: LINES_PER_INSTANCE, follow: false, signal: surface.options.stopping }
  for await (const line of readLines(surface, wish, instance, query)) lines.push(line)
  return lines
}

async function* readLines(
  surface: Surface,
  wish: Wish,
  instance: Instance,
  query: { readonly tail: number; readonly follow: boolean; readonly signal: AbortSignal },
): AsyncGenerator<Line> {
  const sources = [
    ...(wish.streams.includes('stdout') || wish.streams.includes('stderr') ? (['app'] as const) : []),
    ...(wish.streams.includes('koyeb') ? (['server'] as const) : []),
  ]
  // Following two sources at once is two tails; a page reads one after the other.
  if (query.follow && sources.length > 1) {
    yield* merged(sources.map(source => readSource(surface, wish, instance, source, query)))
    return
  }
  for (const source of sources) yield* readSource(surface, wish, instance, source, query)
}

async function* readSource(
  surface: Surface,
  wish: Wish,
  instance: Instance,
  source: 'app' | 'server',
  query: { readonly tail: number; readonly follow: boolean; readonly signal: AbortSignal },
): AsyncGenerator<Line> {
  let records: AsyncIterable<LogRecord>
  try {
    records = await surface.engine.instances.logs(wish.caller, instance.id, { source, ...query })
    for await (const record of records) {
      const stream: Stream = source === 'server' ? 'koyeb' : record.stream === 'stderr' ? 'stderr' : 'stdout'
      if (wish.streams.includes(stream)) yield { at: wholeMicros(record.at ?? instance.startedAt ?? instance.createdAt), stream, text: record.text, instance }
    }
  } catch (error) {
    // It has no log yet, or is gone with it: there is nothing to show.
    if (error instanceof BerthError && (error.code === 'log_not_found' || error.code === 'not_found')) return
    throw error
  }
}

async function* merged<T>(sources: readonly AsyncGenerator<T>[]): AsyncGenerator<T> {
  const slot = new Slot<T>()
  let open = sources.length
  const pump = async (source: AsyncGenerator<T>) => {
    for await (const item of source) await slot.put(item)
    open--
    if (open === 0) slot.end()
  }
  for (const source of sources) pump(source).catch((error: unknown) => slot.fail(error))
  yield* slot.read()
}

function presentLine(surface: Surface, line: Line): LogEntry {
  const place = placeOf(line.instance)
  return {
    msg: line.text,
    created_at: formatTime(line.at),
    labels: {
      type: 'runtime',
      stream: line.stream,
      organization_id: line.instance.projectId,
      app_id: place.app,
      service_id: place.service,
      deployment_id: place.deployment,
      regional_deployment_id: place.set,
      instance_id: line.instance.id,
      region: presentListItem(line.instance, surface.catalogue).region,
    },
  }
}
