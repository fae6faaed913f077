import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { StoreTx } from '../engine/store-port.ts'
import { BerthError } from '../instance/errors.ts'
import type { ErrorCode } from '../instance/errors.ts'
import { connectSqlite } from './sqlite.ts'
import type { SqliteConnection } from './sqlite.ts'
import { TRANSACTION_BATCH_LIMIT, TRANSACTION_QUEUE_LIMIT, Writer } from './writer.ts'

let directory: string
let path: string
let connection: SqliteConnection
let raw: DatabaseSync
/** The writer never looks into the tx it lends. */
const tx = {} as StoreTx

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'berth-writer-'))
  path = join(directory, 'w.db')
  connection = connectSqlite(path, 'write')
  raw = connection.raw
  raw.exec('create table t (n integer, body blob)')
})
afterEach(async () => {
  raw.close()
  await rm(directory, { recursive: true })
})

const put = (n: number, bytes = 1) => raw.prepare('insert into t values (?, zeroblob(?))').run(n, bytes)
const kept = () => raw.prepare('select n from t order by n').all().map((row) => row['n'])
const isError = (code: ErrorCode) => (error: unknown) => error instanceof BerthError && error.code === code

test('transactions run in the order in which they were asked for', async () => {
  const writer = new Writer(raw, tx, path)
  const order: number[] = []
  await Promise.all(
    Array.from({ length: 3 * TRANSACTION_BATCH_LIMIT + 1 }, (_, n) =>
      writer.transaction(async () => {
        if (n % 5 === 0) await sleep(1)
        order.push(n)
        put(n)
      }),
    ),
  )
  assert.deepEqual(order, order.toSorted((a, b) => a - b))
  assert.deepEqual(kept(), order)
})

test('what waits shares a commit', async () => {
  const writer = new Writer(raw, tx, path)
  let commits = 0
  const exec = raw.exec.bind(raw)
  raw.exec = (text) => {
    if (text === 'COMMIT') commits += 1
    exec(text)
  }
  await Promise.all(Array.from({ length: TRANSACTION_BATCH_LIMIT }, (_, n) => writer.transaction(async () => put(n))))
  assert.equal(commits, 1)
  await writer.transaction(async () => put(1000))
  assert.equal(commits, 2)
})

test('when the disk is full, the one that is too large fails and its neighbours succeed', async () => {
  raw.exec('pragma max_page_count=40')
  const writer = new Writer(raw, tx, path)
  const results = await Promise.allSettled(
    [1, 2, 3, 4].map((n) => writer.transaction(async () => put(n, n === 2 ? 4096 * 60 : 10))),
  )
  assert.deepEqual(results.map((result) => result.status), ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'])
  const failed = results[1]
  assert.ok(failed?.status === 'rejected' && isError('disk_full')(failed.reason), JSON.stringify(failed))
  assert.deepEqual(kept(), [1, 3, 4])
  await writer.transaction(async () => put(5))
  assert.deepEqual(kept(), [1, 3, 4, 5])
})

test('when a commit fails, each of its transactions runs again alone', async () => {
  raw.exec('create table parent (id integer primary key)')
  raw.exec('create table child (id integer references parent (id) deferrable initially deferred)')
  const writer = new Writer(raw, tx, path)
  const results = await Promise.allSettled([
    writer.transaction(async () => put(1)),
    // Deferred: the missing parent shows only at the commit.
    writer.transaction(async () => raw.exec('insert into child values (7)')),
    writer.transaction(async () => put(3)),
  ])
  assert.deepEqual(results.map((result) => result.status), ['fulfilled', 'rejected', 'fulfilled'])
  assert.deepEqual(kept(), [1, 3])
})

test('a transaction that takes too long is undone, and those behind it go on', async () => {
  const writer = new Writer(raw, tx, path, 50)
  const stuck = writer.transaction(async () => {
    put(1)
    await new Promise(() => {})
  })
  const next = writer.transaction(async () => put(2))
  await assert.rejects(stuck, isError('timeout'))
  await next
  assert.deepEqual(kept(), [2])
})

test('one that throws, throws what it threw', async () => {
  const writer = new Writer(raw, tx, path)
  const reason = new BerthError('insufficient_resources', 'Nothing left.')
  await assert.rejects(writer.transaction(() => Promise.reject(reason)), (error) => error === reason)
  assert.equal(raw.isTransaction, false)
})

test('the queue has a limit, past which a change is refused at once', async () => {
  const writer = new Writer(raw, tx, path)
  const taken = Array.from({ length: TRANSACTION_QUEUE_LIMIT }, () => writer.transaction(async () => {}))
  await assert.rejects(writer.transaction(async () => {}), isError('rate_limited'))
  await Promise.all(taken)
  await writer.transaction(async () => {})
})

test('another process that holds the lock for a moment is waited for, without stopping this one', async () => {
  const other = connectSqlite(path, 'write')
  other.raw.exec('BEGIN IMMEDIATE')
  const writer = new Writer(raw, tx, path)
  let isDone = false
  const waiting = writer.transaction(async () => put(1)).then(() => (isDone = true))
  await sleep(150)
  assert.equal(isDone, false)
  other.raw.exec('COMMIT')
  await waiting
  assert.deepEqual(kept(), [1])
  other.raw.close()
})

test('what need not be durable waits for no disk, and what must be does, also beside it', async () => {
  const writer = new Writer(raw, tx, path)
  const modes: unknown[] = []
  const note = async () => void modes.push(raw.prepare('pragma synchronous').get()?.['synchronous'])
  await writer.transaction(note)
  await writer.transaction(note, { durable: false })
  await Promise.all([writer.transaction(note, { durable: false }), writer.transaction(note)])
  await writer.transaction(async () => void put(1), { durable: false })
  assert.deepEqual(modes, [2, 1, 2, 2])
  assert.deepEqual(kept(), [1])
})
