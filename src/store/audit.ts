/** The audit trail: appended to, read newest first straight from an index, its oldest lines removed. */
import { sql } from 'kysely'
import type { Kysely, Selectable } from 'kysely'
import type { AuditQuery, StoreReader, StoreTx } from '../engine/store-port.ts'
import type { AuditDetails, AuditLine } from '../instance/audit.ts'
import type { KeyId, ProjectId } from '../instance/model.ts'
import type { AuditTable, Database } from './schema.ts'
import { byIndex } from './sqlite.ts'

export function readAudit(db: Kysely<Database>): Pick<StoreReader, 'audit'> {
  return {
    audit: async (query) => (await auditSelect(db, query).execute()).map(fromRow),
  }
}

export function writeAudit(db: Kysely<Database>): Pick<StoreTx, 'appendAudit' | 'amendAudit' | 'pruneAudit'> {
  return {
    async appendAudit({ at, projectId, keyId, via, operation, action, target, outcome, details }) {
      const columns = { at, project_id: projectId, key_id: keyId, via, operation, action, outcome, details: JSON.stringify(details) }
      const { seq } = await db
        .insertInto('audit')
        .values({ ...columns, target_kind: target.kind, target_id: target.id, target_name: target.name })
        .returning('seq')
        .executeTakeFirstOrThrow()
      return seq
    },
    async amendAudit(seq, details) {
      await db.updateTable('audit').set({ details: JSON.stringify(details) }).where('seq', '=', seq).execute()
    },
    async pruneAudit({ before, keepLines, limit }) {
      const newest = await db.selectFrom('audit').select('seq').orderBy('seq', 'desc').limit(1).executeTakeFirst()
      if (newest === undefined) return 0
      const oldest = db.selectFrom('audit').select(['seq', 'at']).orderBy('seq', 'asc').limit(limit).as('oldest')
      const isOver = sql<boolean>`(at < ${before} or seq <= ${newest.seq - keepLines})`
      const done = await db
        .deleteFrom('audit')
        .where('seq', 'in', db.selectFrom(oldest).select('oldest.seq').where(isOver))
        .executeTakeFirst()
      return Number(done.numDeletedRows)
    },
  }
}

/** The query of a page. Of several conditions the narrowest has the index; the others only filter. */
export function auditSelect(db: Kysely<Database>, query: AuditQuery) {
  const { projectId, targetId, keyId, action, targetKind, from, until, after } = query
  const index = targetId !== undefined ? 'target' : keyId !== undefined ? 'key' : action !== undefined ? 'action' : targetKind !== undefined ? 'kind' : 'project'
  let select = db.selectFrom(byIndex<AuditTable>('audit', `audit_${index}`)).selectAll().where('project_id', '=', projectId)
  if (targetId !== undefined) select = select.where('target_id', '=', targetId)
  if (keyId !== undefined) select = select.where('key_id', '=', keyId)
  if (action !== undefined) select = select.where('action', '=', action)
  if (targetKind !== undefined) select = select.where('target_kind', '=', targetKind)
  if (from !== undefined) select = select.where('at', '>=', from)
  if (until !== undefined) select = select.where('at', '<', until)
  if (after !== undefined) select = select.where(sql<boolean>`(at, seq) < (${after.at}, ${after.seq})`)
  return select
    .orderBy('at', 'desc')
    .orderBy('seq', 'desc')
    .limit(query.limit ?? Number.MAX_SAFE_INTEGER)
}

function fromRow(row: Selectable<AuditTable>): AuditLine {
  return {
    seq: row.seq,
    at: row.at,
    projectId: row.project_id as ProjectId,
    keyId: row.key_id as KeyId | null,
    via: row.via,
    operation: row.operation,
    action: row.action,
    target: { kind: row.target_kind, id: row.target_id, name: row.target_name },
    outcome: row.outcome as AuditLine['outcome'],
    details: JSON.parse(row.details) as AuditDetails,
  }
}
