/** The audit trail as Lambda tells it: newest first, a page at a time. Its names of things are `lrn:` and ours. */
import type { FastifyRequest } from 'fastify'
import type { AuditFilter } from '../../engine/audit.ts'
import type { AuditLine } from '../../instance/audit.ts'
import { fieldError } from './errors.ts'
import type * as wire from './schema.ts'
import type { Surface } from './surface.ts'
import { callerOf } from './surface.ts'
import { zuluTimestamp } from './timestamp.ts'

const PAGE = 100
const CATALOG_VERSION = '1.0'
const SERVICE = 'cloud'

export interface AuditPage {
  readonly data: readonly wire.AuditEvent[]
  readonly page_token: string | null
}

export async function listAuditEvents(surface: Surface, request: FastifyRequest): Promise<AuditPage> {
  const caller = callerOf(request)
  const query = request.query as Readonly<Record<string, unknown>>
  const from = acceptTime('start', query['start'])
  const until = acceptTime('end', query['end'])
  const after = acceptToken(query['page_token'])
  const kind = acceptText('resource_type', query['resource_type'])
  const filter: AuditFilter = {
    ...(from === null ? {} : { from }),
    ...(until === null ? {} : { until }),
    ...(after === null ? {} : { after }),
    ...(kind === null ? {} : { targetKind: kind.replaceAll('_', '-') }),
    // One more than a page tells whether there is another.
    limit: PAGE + 1,
  }
  const lines = await surface.engine.audit.list(caller, filter)
  const page = lines.slice(0, PAGE)
  const last = page.at(-1)
  return { data: page.map(present), page_token: last === undefined || lines.length <= PAGE ? null : tokenOf(last) }
}

function present(line: AuditLine): wire.AuditEvent {
  const { target } = line
  const key = line.keyId === null ? null : `lrn:berth:key:${line.keyId}`
  return {
    service_name: SERVICE,
    resource_name: target.kind,
    action: line.action,
    catalog_version: CATALOG_VERSION,
    event_id: String(line.seq),
    event_time: zuluTimestamp(line.at),
    actor_lrn: key,
    resource_lrns: target.id === null ? [] : [`lrn:berth:${target.kind}:${target.id}`],
    resource_owner_lrn: `lrn:berth:project:${line.projectId}`,
    request_api_key_lrn: key,
    additional_details: { ...line.details, outcome: line.outcome, via: line.via, ...(target.name === null ? {} : { name: target.name }) },
  }
}

function tokenOf({ at, seq }: AuditLine): string {
  return Buffer.from(JSON.stringify([at, seq])).toString('base64url')
}

function acceptToken(value: unknown): { readonly at: number; readonly seq: number } | null {
  const text = acceptText('page_token', value)
  if (text === null) return null
  try {
    const parsed: unknown = JSON.parse(Buffer.from(text, 'base64url').toString('utf8'))
    const [at, seq, ...more]: unknown[] = Array.isArray(parsed) ? parsed : []
    if (more.length === 0 && typeof at === 'number' && typeof seq === 'number' && Number.isFinite(at) && Number.isSafeInteger(seq)) return { at, seq }
  } catch (error) {
    throw fieldError('page_token', `it is none that an answer gave: ${error instanceof Error ? error.message.slice(0, 80) : ''}`)
  }
  throw fieldError('page_token', 'it is none that an answer gave')
}

function acceptTime(field: string, value: unknown): number | null {
  const text = acceptText(field, value)
  if (text === null) return null
  const ms = Date.parse(text)
  if (Number.isNaN(ms)) throw fieldError(field, 'it must be a time like 2025-09-15T10:30:45Z')
  return ms
}

function acceptText(field: string, value: unknown): string | null {
  if (value === undefined || value === '') return null
  if (typeof value !== 'string') throw fieldError(field, 'it stands there twice')
  return value
}
