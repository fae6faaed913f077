/** Instances: their rows, their filters, and the rule that a living name is unique in its project. */
import { sql } from 'kysely'
import type { Kysely, RawBuilder, SelectQueryBuilder, SqlBool } from 'kysely'
import type { InstanceQuery, StoreReader, StoreTx } from '../engine/store-port.ts'
import { BerthError } from '../instance/errors.ts'
import type { Health } from '../instance/health.ts'
import type { HostId, ImageDigest, Instance, InstanceId, ProjectId, SnapshotId } from '../instance/model.ts'
import type { Phase } from '../instance/phase.ts'
import type { Database, InstanceRow } from './schema.ts'
import { INDEXED_ANNOTATIONS } from './schema.ts'
import { holdsMembers, isAlso, isOneOf, lacksMember, memberIs, violatedUnique } from './sqlite.ts'

/** SQLite wants a limit where there is an offset. */
const NO_LIMIT = Number.MAX_SAFE_INTEGER
/** Phases in which the life of an instance is over, unless it is started again. */
const ENDED: readonly Phase[] = ['stopped', 'preempted', 'failed', 'deleted']

export interface InstanceSource extends Pick<StoreReader, 'instance' | 'instances'> {
  /** The ids of what `instances` would return, in its order. */
  instanceIds(query: InstanceQuery): Promise<readonly InstanceId[]>
}

/** Instances of one query of which their ids are asked for first; larger ones are read at once. */
const PAGE_LIMIT = 1000

/** Whether a query is for a page of a list. */
export function isBounded(query: InstanceQuery): boolean {
  return query.limit !== undefined && query.limit <= PAGE_LIMIT
}

export function readInstances(db: Kysely<Database>): Pick<StoreReader, 'countInstances'> & InstanceSource {
  return {
    async instance(id) {
      const row = await db.selectFrom('instances').selectAll().where('id', '=', id).executeTakeFirst()
      return row === undefined ? null : fromRow(row)
    },
    async instances(query) {
      return (await paged(filtered(db.selectFrom('instances').selectAll(), query), query).execute()).map(fromRow)
    },
    async instanceIds(query) {
      const rows = await paged(filtered(db.selectFrom('instances').select('id'), query), query).execute()
      return rows.map(({ id }) => id as InstanceId)
    },
    async countInstances(query) {
      if (isCountedByPhase(query)) return countedByPhase(db, query)
      const select = filtered(db.selectFrom('instances'), query).select(({ fn }) => fn.countAll<number>().as('count'))
      return (await select.executeTakeFirstOrThrow()).count
    },
  }
}

export function writeInstances(db: Kysely<Database>): Pick<StoreTx, 'insertInstance' | 'updateInstance'> {
  return {
    async insertInstance(instance) {
      try {
        await db.insertInto('instances').values(toRow(instance)).execute()
      } catch (error) {
        throw conflict(error, instance)
      }
    },
    async updateInstance(instance) {
      const { id, ...columns } = toRow(instance)
      try {
        const done = await db.updateTable('instances').set(columns).where('id', '=', id).executeTakeFirst()
        if (done.numUpdatedRows === 0n) throw new BerthError('not_found', `There is no instance ${id}.`)
      } catch (error) {
        throw conflict(error, instance)
      }
    },
  }
}

function paged<O>(select: SelectQueryBuilder<Database, 'instances', O>, query: InstanceQuery): SelectQueryBuilder<Database, 'instances', O> {
  const direction = query.order === 'oldest-first' ? 'asc' : 'desc'
  let page = select.orderBy('created_at', direction).orderBy('id', direction)
  if (query.limit !== undefined || query.offset) page = page.limit(query.limit ?? NO_LIMIT)
  if (query.offset) page = page.offset(query.offset)
  return page
}

function filtered<O>(
  select: SelectQueryBuilder<Database, 'instances', O>,
  query: InstanceQuery,
): SelectQueryBuilder<Database, 'instances', O> {
  let narrowed = select
  // A literal, not a parameter: only so does SQLite know that the index of the living will do.
  if (!query.includeDeleted) narrowed = narrowed.where('phase', '<>', sql.lit('deleted'))
  const indexed = INDEXED_ANNOTATIONS.find((key) => query.annotations?.[key] !== undefined)
  if (query.projectId !== null) {
    const project = query.projectId
    narrowed = query.ids === undefined && indexed === undefined ? narrowed.where('project_id', '=', project) : narrowed.where(isAlso('project_id', project))
  }
  if (query.name !== undefined) narrowed = narrowed.where('name', '=', query.name)
  if (query.basis !== undefined) narrowed = narrowed.where('basis', '=', query.basis)
  if (query.hostId !== undefined) narrowed = narrowed.where('host_id', '=', query.hostId)
  if (query.ids !== undefined) narrowed = narrowed.where(isOneOf('id', query.ids))
  if (query.phases !== undefined) narrowed = narrowed.where(isOneOf('phase', query.phases))
  for (const condition of holdsMembers('tags', query.tags ?? {})) narrowed = narrowed.where(condition)
  for (const [key, value] of Object.entries(query.annotations ?? {})) {
    if (INDEXED_ANNOTATIONS.some((known) => known === key)) narrowed = narrowed.where(memberIs('annotations', key, value))
    else for (const condition of holdsMembers('annotations', { [key]: value })) narrowed = narrowed.where(condition)
  }
  for (const [key, value] of Object.entries(query.annotationsOrAbsent ?? {})) {
    narrowed = narrowed.where((where) => where.or([memberIs('annotations', key, value), lacksMember('annotations', key)]))
  }
  // A literal here as well, for the index of these.
  if (query.watched === true) narrowed = narrowed.where('is_watched', '=', sql.lit(1))
  if (query.running === 'checking') narrowed = narrowed.where((where) => where.or([where.eb('phase', '<>', 'running'), isChecking]))
  if (query.running === 'checked') narrowed = narrowed.where((where) => where.not(isChecking))
  if (query.lacksAnnotation !== undefined) narrowed = narrowed.where(lacksMember('annotations', query.lacksAnnotation))
  const { from = null, until = null } = query.lived ?? {}
  if (until !== null) narrowed = narrowed.where(({ eb, fn }) => eb(fn.coalesce('started_at', 'created_at'), '<=', until))
  if (from !== null) narrowed = narrowed.where(livedAt(from))
  return narrowed
}

/** It runs, and its health checks have not passed yet. */
const isChecking: RawBuilder<SqlBool> = sql`(is_watched = 1 and phase = 'running' and health is not null and json_extract(health, '$.status') = 'starting')`

function isWatched({ spec }: Instance): boolean {
  return (spec.healthChecks ?? []).length > 0 || (spec.idleAfterMs ?? null) !== null || (spec.autoStandby ?? null) !== null
}

/** It had not ended by then: phases that are an end began later, and the others are no end. */
function livedAt(at: number): RawBuilder<SqlBool> {
  const ends = sql.join(ENDED.map((phase) => sql.lit(phase)))
  return sql<SqlBool>`(phase not in (${ends}) or phase_since >= ${at})`
}

/** Whether the counts that triggers keep answer the question, without looking at a single instance. */
function isCountedByPhase(query: InstanceQuery): boolean {
  const { projectId: _project, phases: _phases, includeDeleted: _deleted, running: _running, order: _order, limit: _limit, offset: _offset, ...narrower } = query
  return Object.values(narrower).every((wish) => wish === undefined || (typeof wish === 'object' && !Array.isArray(wish) && Object.keys(wish).length === 0))
}

async function countedByPhase(db: Kysely<Database>, query: InstanceQuery): Promise<number> {
  let select = db.selectFrom('instance_counts').select(({ fn }) => fn.sum<number | null>('count').as('count'))
  if (query.projectId !== null) select = select.where('project_id', '=', query.projectId)
  if (query.phases !== undefined) select = select.where(isOneOf('phase', query.phases))
  if (!query.includeDeleted) select = select.where('phase', '<>', 'deleted')
  const count = (await select.executeTakeFirstOrThrow()).count ?? 0
  if (query.running === undefined || query.phases?.includes('running') === false) return count
  const checking = await countChecking(db, query.projectId)
  if (query.running === 'checked') return count - checking
  return count - (await countedByPhase(db, { projectId: query.projectId, phases: ['running'] })) + checking
}

/** Through the index of the watched ones. */
async function countChecking(db: Kysely<Database>, projectId: ProjectId | null): Promise<number> {
  let select = db.selectFrom('instances').select(({ fn }) => fn.countAll<number>().as('count')).where('is_watched', '=', sql.lit(1)).where(isChecking)
  if (projectId !== null) select = select.where('project_id', '=', projectId)
  return (await select.executeTakeFirstOrThrow()).count
}

function conflict(error: unknown, instance: Instance): unknown {
  switch (violatedUnique(error)) {
    case 'instances.project_id, instances.name':
      return new BerthError('name_conflict', `The name ${instance.spec.name} is taken by another instance: choose another, or delete that one.`, {
        details: { name: instance.spec.name },
        cause: error,
      })
    case 'instances.id':
      return new BerthError('already_exists', `There is already an instance ${instance.id}.`, { cause: error })
    default:
      return error
  }
}

function toRow(instance: Instance): InstanceRow {
  return {
    id: instance.id,
    project_id: instance.projectId,
    name: instance.spec.name,
    tags: JSON.stringify(instance.spec.tags),
    spec: JSON.stringify(instance.spec),
    image_digest: instance.imageDigest,
    desired: instance.desired,
    phase: instance.phase,
    phase_since: instance.phaseSince,
    reason: instance.reason,
    error_code: instance.errorCode,
    host_id: instance.hostId,
    address: instance.address === null ? null : JSON.stringify(instance.address),
    basis: instance.basis,
    generation: instance.generation,
    exit: instance.exit === null ? null : JSON.stringify(instance.exit),
    health: instance.health === null || instance.health === undefined ? null : JSON.stringify(instance.health),
    is_watched: isWatched(instance) ? 1 : 0,
    restart_attempts: instance.restartAttempts,
    created_at: instance.createdAt,
    started_at: instance.startedAt,
    stopped_at: instance.stoppedAt,
    deleted_at: instance.deletedAt,
    origin: instance.origin,
    annotations: JSON.stringify(instance.annotations),
  }
}

function fromRow(row: InstanceRow): Instance {
  return {
    id: row.id as InstanceId,
    projectId: row.project_id as ProjectId,
    spec: specOf(row.spec),
    imageDigest: row.image_digest as ImageDigest | null,
    desired: row.desired,
    phase: row.phase,
    phaseSince: row.phase_since,
    reason: row.reason,
    errorCode: row.error_code,
    hostId: row.host_id as HostId | null,
    address: row.address === null ? null : (JSON.parse(row.address) as Instance['address']),
    basis: row.basis as SnapshotId | null,
    generation: row.generation,
    exit: row.exit === null ? null : (JSON.parse(row.exit) as Instance['exit']),
    ...(row.health === null ? {} : { health: JSON.parse(row.health) as Health }),
    restartAttempts: row.restart_attempts,
    createdAt: row.created_at,
    startedAt: row.started_at,
    stoppedAt: row.stopped_at,
    deletedAt: row.deleted_at,
    origin: row.origin,
    annotations: JSON.parse(row.annotations) as Instance['annotations'],
  }
}

/** Instances of before there were such keys have none. */
function specOf(text: string): Instance['spec'] {
  const spec = JSON.parse(text) as Omit<Instance['spec'], 'sshKeys'> & Partial<Pick<Instance['spec'], 'sshKeys'>>
  return { ...spec, sshKeys: spec.sshKeys ?? [] }
}
