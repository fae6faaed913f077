/** The audit trail on SQLite: pages, filters, what is removed, and that each way to ask has an index of its own. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { AuditQuery, Store } from '../engine/store-port.ts'
import type { AuditLine } from '../instance/audit.ts'
import type { KeyId, ProjectId } from '../instance/model.ts'
import { auditSelect } from './audit.ts'
import { openStore } from './open.ts'
import { connectSqlite } from './sqlite.ts'
import type { SqliteConnection } from './sqlite.ts'

const MINE = 'p-mine' as ProjectId
const OTHERS = 'p-others' as ProjectId
const KEY = 'k-1' as KeyId

const dir = mkdtempSync(join(tmpdir(), 'berth-audit-'))
const path = join(dir, 'berth.db')
let store: Store
let connection: SqliteConnection

before(async () => {
  store = await openStore({ path })
  connection = connectSqlite(path, 'read')
})
after(async () => {
  connection.raw.close()
  await store.close()
  rmSync(dir, { recursive: true, force: true })
})

function line(at: number, change: Partial<AuditLine> = {}): Omit<AuditLine, 'seq'> {
  const target = { kind: 'instance', id: `i-${at % 3}`, name: null }
  return { at, projectId: MINE, keyId: null, via: 'native', operation: null, action: 'instance.stop', target, outcome: 'ok', details: { at, argv: ['a b', '"c"'] }, ...change }
}

async function pages(query: Omit<AuditQuery, 'projectId' | 'after' | 'limit'>, size: number): Promise<number[]> {
  const seen: number[] = []
  let last: AuditLine | undefined
  do {
    const cursor = last === undefined ? {} : { after: { at: last.at, seq: last.seq } }
    const page = await store.read.audit({ ...query, projectId: MINE, limit: size, ...cursor })
    assert.ok(page.length <= size)
    seen.push(...page.map(({ at }) => at))
    last = page.at(-1)
  } while (last !== undefined)
  return seen
}

test('a line comes back as it was, the newest first, without gap or repeat over pages, even within one millisecond', async () => {
  await store.transaction(async (tx) => {
    for (const at of [1, 2, 3, 3, 3, 3, 3, 4, 5]) await tx.appendAudit(line(at))
    await tx.appendAudit(line(6, { keyId: KEY, action: 'key.delete', target: { kind: 'key', id: 'k-9', name: 'ci' }, outcome: 'forbidden', operation: 'x', via: 'mcp' }))
    await tx.appendAudit(line(7, { projectId: OTHERS }))
  })
  const all = [6, 5, 4, 3, 3, 3, 3, 3, 2, 1]
  for (const size of [1, 2, 3, 100]) assert.deepEqual(await pages({}, size), all)
  const [newest] = await store.read.audit({ projectId: MINE, limit: 1 })
  const { seq, ...rest } = newest ?? assert.fail('there is a line')
  assert.ok(seq > 0)
  assert.deepEqual(rest, line(6, { keyId: KEY, action: 'key.delete', target: { kind: 'key', id: 'k-9', name: 'ci' }, outcome: 'forbidden', operation: 'x', via: 'mcp' }))
})

test('every filter narrows, alone and together', async () => {
  assert.deepEqual(await pages({ from: 2, until: 5 }, 2), [4, 3, 3, 3, 3, 3, 2])
  assert.deepEqual(await pages({ keyId: KEY }, 2), [6])
  assert.deepEqual(await pages({ targetKind: 'key' }, 2), [6])
  assert.deepEqual(await pages({ targetId: 'i-1' }, 2), [4, 1])
  assert.deepEqual(await pages({ action: 'instance.stop', targetId: 'i-2' }, 2), [5, 2])
  assert.deepEqual(await pages({ action: 'instance.stop', keyId: KEY }, 2), [])
})

test('details are amended in place', async () => {
  const seq = await store.transaction((tx) => tx.appendAudit(line(8)))
  await store.transaction((tx) => tx.amendAudit(seq, { exitCode: 3 }))
  const [newest] = await store.read.audit({ projectId: MINE, limit: 1 })
  assert.deepEqual([newest?.seq, newest?.details], [seq, { exitCode: 3 }])
})

test('each way to ask is answered from an index in the order of the list: no scan of the table, no sorting', () => {
  const after = { at: 5, seq: 5 }
  const queries: Record<string, Omit<AuditQuery, 'projectId'>> = {
    audit_project: {},
    audit_action: { action: 'instance.exec' },
    audit_kind: { targetKind: 'volume' },
    audit_key: { keyId: KEY, action: 'instance.exec', targetKind: 'instance' },
    audit_target: { targetId: 'i-1', keyId: KEY, action: 'instance.exec', targetKind: 'instance' },
  }
  for (const [index, query] of Object.entries(queries)) {
    for (const besides of [{}, { after }, { from: 1, until: 9 }]) {
      const compiled = auditSelect(connection.db, { projectId: MINE, limit: 100, ...query, ...besides }).compile()
      const plan = connection.raw.prepare(`explain query plan ${compiled.sql}`).all(...(compiled.parameters as string[]))
      const steps = plan.map((row) => String(row['detail']))
      assert.deepEqual(steps.length, 1, `${index}: ${steps.join('; ')}`)
      assert.match(steps[0] ?? '', new RegExp(`^SEARCH audit USING INDEX ${index} \\(`))
    }
  }
})

test('what is too old, or one line too many, is removed: the oldest first, at most so many at once', async () => {
  const before = await store.read.audit({ projectId: MINE })
  assert.equal(await store.transaction((tx) => tx.pruneAudit({ before: 3, keepLines: 1000, limit: 1 })), 1)
  assert.equal(await store.transaction((tx) => tx.pruneAudit({ before: 3, keepLines: 1000, limit: 100 })), 1)
  assert.equal(await store.transaction((tx) => tx.pruneAudit({ before: 3, keepLines: 1000, limit: 100 })), 0)
  assert.deepEqual(await store.read.audit({ projectId: MINE }), before.slice(0, -2))
  await store.transaction((tx) => tx.pruneAudit({ before: 0, keepLines: 2, limit: 100 }))
  assert.deepEqual(await store.read.audit({ projectId: MINE }), before.slice(0, 1))
})
