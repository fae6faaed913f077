/** `/berth/v1/audit`: who did what, newest first. */
import { Type } from 'typebox'
import type { Caller, Engine } from '../../../engine/api.ts'
import { BerthError } from '../../../instance/errors.ts'
import type { KeyId } from '../../../instance/model.ts'
import { acceptTime } from '../accept.ts'
import { callerOf } from '../app.ts'
import type { AddRoutes } from '../app.ts'
import { readCursor, writeCursor } from '../page.ts'
import { presentTime } from '../present.ts'
import { findInstance } from '../resolve.ts'
import type { AuditBody } from '../schema/audit.ts'
import { AuditQuery } from '../schema/audit.ts'
import { DEFAULT_PAGE, page } from '../schema/page.ts'

export const auditRoutes: AddRoutes = (app, { engine }) => {
  app.get('/audit', {
    schema: {
      tags: ['audit'],
      operationId: 'listAudit',
      summary: 'Who did what',
      description:
        'The audit trail of the project, newest first: every change, every command and copy, and every call that was refused. ' +
        'A line of a command is there at once and tells the exit code when the command has ended.',
      querystring: AuditQuery,
      response: { 200: page(Type.Ref('AuditLine#')) },
    },
    handler: async (request) => {
      const caller = callerOf(request)
      const { from, until, key, kind, target, action, limit = DEFAULT_PAGE, cursor } = request.query
      const lines = await engine.audit.list(caller, {
        ...(from === undefined ? {} : { from: acceptTime('from', from) }),
        ...(until === undefined ? {} : { until: acceptTime('until', until) }),
        ...(key === undefined ? {} : { keyId: key as KeyId }),
        ...(kind === undefined ? {} : { targetKind: kind }),
        ...(target === undefined ? {} : { targetId: await targetIdOf(engine, caller, kind, target) }),
        ...(action === undefined ? {} : { action }),
        ...(cursor === undefined ? {} : { after: lineOf(cursor) }),
        limit: limit + 1,
      })
      const items: AuditBody[] = lines.slice(0, limit).map((line) => {
        const { seq, at, keyId, via, operation, target: { kind: what, id, name }, outcome, details } = line
        return { seq, at: presentTime(at), keyId, via, operation, action: line.action, target: { kind: what, id, name }, outcome, details: { ...details } }
      })
      const last = lines[limit - 1]
      return { items, next: lines.length > limit && last !== undefined ? writeCursor([last.at, String(last.seq)]) : null }
    },
  })
}

/** An instance goes by many names, as long as it lives; everything else by its id. */
async function targetIdOf(engine: Engine, caller: Caller, kind: string | undefined, word: string): Promise<string> {
  if (kind !== undefined && kind !== 'instance') return word
  try {
    return (await findInstance(engine, caller, word)).id
  } catch (error) {
    if (error instanceof BerthError && error.code === 'not_found') return word
    throw error
  }
}

function lineOf(cursor: string): { readonly at: number; readonly seq: number } {
  const [at, seq] = readCursor(cursor)
  if (typeof at === 'number' && /^\d{1,15}$/.test(seq)) return { at, seq: Number(seq) }
  throw new BerthError('invalid_request', 'The cursor is not one that this list gave; leave it out to begin at the start.', {
    details: { field: 'cursor' },
  })
}
