import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, test } from 'node:test'
import { sql } from 'kysely'
import type { Migration } from 'kysely/migration'
import { BerthError } from '../instance/errors.ts'
import type { ErrorCode } from '../instance/errors.ts'
import { isUuidV4 } from '../instance/ids.ts'
import type { InstanceId, ProjectId } from '../instance/model.ts'
import { HOST, anInstance } from './contract-fixture.ts'
import { readEvents } from './events.ts'
import { readInstances } from './instances.ts'
import { migrate } from './migrate.ts'
import { MIGRATIONS } from './migrations/all.ts'
import { openStore } from './open.ts'
import type { StoreLocation } from './open.ts'
import { connectSqlite } from './sqlite.ts'

let directory: string
let path: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'berth-open-'))
  path = join(directory, 'berth.db')
})
afterEach(() => rm(directory, { recursive: true }))

async function refused(code: ErrorCode, sentence: RegExp, location: StoreLocation = { path }): Promise<void> {
  await assert.rejects(openStore(location), (error: unknown) => {
    assert.ok(error instanceof BerthError, String(error))
    assert.equal(error.code, code)
    assert.match(error.message, sentence)
    return true
  })
}

test('a commit is synced to the disk, and the file is its owner’s alone', async () => {
  const { raw } = connectSqlite(path, 'write')
  assert.deepEqual({ ...raw.prepare('pragma synchronous').get() }, { synchronous: 2 })
  assert.deepEqual({ ...raw.prepare('pragma journal_mode').get() }, { journal_mode: 'wal' })
  assert.deepEqual({ ...raw.prepare('pragma foreign_keys').get() }, { foreign_keys: 1 })
  raw.close()
  const own = join(directory, 'new', 'data', 'berth.db')
  const store = await openStore({ path: own })
  await store.transaction((tx) => tx.insertInstance(anInstance()))
  for (const file of [own, `${own}-wal`, `${own}-shm`]) assert.equal((await stat(file)).mode & 0o777, 0o600, file)
  assert.equal((await stat(join(directory, 'new', 'data'))).mode & 0o777, 0o700)
  await store.close()
})

test('the reading connection can’t write', async () => {
  await (await openStore({ path })).close()
  const { raw } = connectSqlite(path, 'read')
  assert.throws(() => raw.exec('delete from instances'), /readonly/)
  raw.close()
})

test('a location is a path or a sqlite: URL, and others are refused by name', async () => {
  const store = await openStore({ url: `sqlite://${path}` })
  await store.close()
  assert.ok((await stat(path)).size > 0)
  await refused('not_supported', /postgres/, { url: 'postgres://db/berth' })
  await refused('not_supported', /sqlite:/, { url: 'nonsense' })
})

test('a file that is no database is refused with a sentence, and left as it was', async () => {
  const garbage = Buffer.alloc(8192, 'not a database ')
  await writeFile(path, garbage)
  await refused('internal', /berth\.db is not a database: /)
  assert.deepEqual(await readFile(path), garbage)
})

test('a damaged database is refused with a sentence', async () => {
  const store = await openStore({ path })
  await store.transaction(async (tx) => {
    for (let i = 0; i < 200; i++) await tx.insertInstance(anInstance())
  })
  await store.close()
  const whole = await readFile(path)
  await truncate(path, 4096 * 3)
  await refused('internal', /berth\.db is damaged: /)
  await writeFile(path, Buffer.concat([whole.subarray(0, 4096), Buffer.alloc(whole.length - 4096, 0xa5)]))
  await refused('internal', /berth\.db is damaged: /)
  await writeFile(path, whole)
  await (await openStore({ path })).close()
})

test('damage that shows later is told with the same sentence by reads and writes', async () => {
  const store = await openStore({ path })
  const instances = Array.from({ length: 500 }, () => anInstance())
  await store.transaction(async (tx) => {
    for (const instance of instances) await tx.insertInstance(instance)
  })
  await store.close()
  const bytes = await readFile(path)
  // The tables' definitions stay whole; the rows do not.
  const marker = Buffer.from('"wörld')
  for (let page = 4096 * 8; page < bytes.length; page += 4096) {
    if (bytes.subarray(page, page + 4096).includes(marker)) bytes.fill(0xff, page, page + 100)
  }
  await writeFile(path, bytes)
  const again = await openStore({ path })
  const isDamage = (error: unknown) => error instanceof BerthError && /is damaged/.test(error.message)
  await assert.rejects(again.read.instances({ projectId: null }), isDamage)
  await assert.rejects(again.transaction((tx) => tx.instances({ projectId: null })), isDamage)
  await again.close()
})

test('a path that can’t be a file is refused with a sentence', async () => {
  await refused('internal', /can't be opened/, { path: directory })
  await writeFile(join(directory, 'file'), '')
  await refused('internal', /can't be opened/, { path: join(directory, 'file', 'berth.db') })
  await mkdir(join(directory, 'dir'))
  await refused('internal', /can't be opened/, { path: join(directory, 'dir') })
})

test('another program’s database is refused and left as it was', async () => {
  const foreign = new DatabaseSync(path)
  foreign.exec('create table recipes (name text)')
  foreign.close()
  await refused('internal', /belongs to another program/)
  const after = new DatabaseSync(path)
  const tables = after.prepare('select name from sqlite_master').all()
  assert.deepEqual(tables.map((row) => row['name']), ['recipes'])
  after.close()
})

test('a database of a newer Berth is refused by the name of the step, and left as it was', async () => {
  const newer = connectSqlite(path, 'write')
  const future: Migration = { up: async (db) => db.schema.createTable('comets').addColumn('id', 'text').execute() }
  await migrate(newer, path, { ...MIGRATIONS, '9999-comets': future })
  newer.raw.close()
  await refused('internal', /written by a newer Berth \(step 9999-comets\)/)
  const back = connectSqlite(path, 'write')
  await migrate(back, path, { ...MIGRATIONS, '9999-comets': future })
  back.raw.close()
})

test('a migration that fails leaves the database as it was', async () => {
  await (await openStore({ path })).close()
  const connection = connectSqlite(path, 'write')
  const half: Migration = {
    up: async (db) => {
      await db.schema.createTable('comets').addColumn('id', 'text').execute()
      throw new Error('half-way')
    },
  }
  await assert.rejects(migrate(connection, path, { ...MIGRATIONS, '9999-comets': half }), /half-way/)
  const comets = await sql`select name from sqlite_master where name = 'comets'`.execute(connection.db)
  assert.deepEqual(comets.rows, [])
  connection.raw.close()
  await (await openStore({ path })).close()
})

test('eight that open a new store at once all get it', async () => {
  const stores = await Promise.all(Array.from({ length: 8 }, () => openStore({ path })))
  const instance = anInstance()
  await stores[0]?.transaction((tx) => tx.insertInstance(instance))
  for (const store of stores) {
    assert.deepEqual(await store.read.instance(instance.id), instance)
    await store.close()
  }
})

test('two processes that start on a new store at once, and write at once, lose nothing', async () => {
  const children = [startWriter(), startWriter()]
  const printed = await Promise.all(children.map((child) => child.firstLines(40)))
  await Promise.all(children.map((child) => child.kill()))
  const store = await openStore({ path })
  for (const id of printed.flat()) assert.equal((await store.read.events({ projectId: null, instanceIds: [id as never] })).length, 3)
  await store.close()
})

test('kill -9 in the middle of writing leaves whole transactions only, and every one that was acknowledged', async () => {
  for (const lines of [1, 20, 100, 300]) {
    const child = startWriter()
    await child.firstLines(lines)
    const acknowledged = await child.kill()
    assert.ok(acknowledged.length >= lines)
    const store = await openStore({ path })
    const instances = new Set((await store.read.instances({ projectId: null })).map((instance) => instance.id as string))
    for (const id of acknowledged) assert.ok(instances.has(id), `${id} was acknowledged and is gone`)
    const events = Map.groupBy(await store.read.events({ projectId: null }), (event) => event.instanceId as string)
    const reserved = new Map((await store.read.reservations(HOST)).map((row) => [row.instanceId as string, row.ports]))
    assert.equal(events.size, instances.size)
    assert.equal(reserved.size, instances.size)
    for (const id of instances) {
      assert.deepEqual(events.get(id)?.map((event) => event.to), ['pending', 'allocated', 'preparing'])
      assert.deepEqual(reserved.get(id), [`tcp/${id}`])
    }
    await store.close()
  }
})

test('pages of events and lists of instances are read from an index, never by scanning or sorting a table', async () => {
  await (await openStore({ path })).close()
  const { raw, db } = connectSqlite(path, 'read')
  const { events } = readEvents(db)
  const { instances } = readInstances(db)
  const prepare = raw.prepare.bind(raw)
  let text = ''
  raw.prepare = (query) => {
    text = query
    return prepare(query)
  }
  const projectId = 'p' as ProjectId
  const instanceIds = ['i' as InstanceId]
  const table: readonly (readonly [() => Promise<unknown>, string])[] = [
    [() => events({ projectId, afterSeq: 5, limit: 10 }), 'events_project (project_id=? AND seq>?)'],
    [() => events({ projectId, order: 'newest-first', limit: 10 }), 'events_project (project_id=?)'],
    [() => events({ projectId, kinds: ['phase'], afterSeq: 5, limit: 10 }), 'events_project (project_id=? AND seq>?)'],
    [() => events({ projectId, instanceIds, afterSeq: 5, limit: 10 }), 'events_instance (instance_id=? AND seq>?)'],
    [() => events({ projectId: null, instanceIds, afterSeq: 5, limit: 10 }), 'events_instance (instance_id=? AND seq>?)'],
    [() => events({ projectId, instanceIds, order: 'newest-first', limit: 1 }), 'events_instance (instance_id=?)'],
    [() => events({ projectId: null, afterSeq: 5, limit: 10 }), 'INTEGER PRIMARY KEY (rowid>?)'],
    [() => instances({ projectId, limit: 10 }), 'instances_living_project (project_id=?)'],
    [() => instances({ projectId, offset: 20, limit: 10, order: 'oldest-first' }), 'instances_living_project (project_id=?)'],
    [() => instances({ projectId: null, phases: ['running', 'starting'] }), 'instances_living'],
    [() => instances({ projectId, includeDeleted: true, limit: 10 }), 'instances_project (project_id=?)'],
  ]
  for (const [query, index] of table) {
    await query()
    const plan = prepare(`explain query plan ${text}`).all().map((row) => String(row['detail'])).join('; ')
    assert.ok(plan.includes(`USING ${index.startsWith('INTEGER') ? '' : 'INDEX '}${index}`), `${text}\n${plan}`)
    assert.doesNotMatch(plan, /TEMP B-TREE/, text)
  }
  // The few rows of chosen instances are found by their ids, then sorted.
  const several = ['i', 'j'] as InstanceId[]
  const chosen: readonly (readonly [() => Promise<unknown>, RegExp])[] = [
    [() => events({ projectId, instanceIds: several, afterSeq: 5, limit: 10 }), /USING INDEX events_instance \(instance_id=\? AND seq>\?\)/],
    [() => instances({ projectId, ids: several }), /USING INDEX sqlite_autoindex_instances_1 \(id=\?\)/],
    [() => instances({ projectId, name: 'web' }), /USING INDEX instances_living_name \(project_id=\? AND name=\?\)/],
  ]
  for (const [query, index] of chosen) {
    await query()
    const plan = prepare(`explain query plan ${text}`).all().map((row) => String(row['detail'])).join('; ')
    assert.match(plan, index, text)
  }
  raw.close()
})

interface WriterProcess {
  /** Resolves with what was printed so far once that many lines were. */
  firstLines(count: number): Promise<readonly string[]>
  /** kill -9; resolves with every whole line that was printed. */
  kill(): Promise<readonly string[]>
}

function startWriter(): WriterProcess {
  const script = join(import.meta.dirname, 'endless-writer.ts')
  const child = spawn(process.execPath, [script, path], { stdio: ['ignore', 'pipe', 'inherit'] })
  const lines: string[] = []
  const reader = createInterface({ input: child.stdout })
  reader.on('line', (line) => {
    // The kill may cut the last line.
    if (isUuidV4(line)) lines.push(line)
  })
  const ended = new Promise<void>((resolve) => reader.once('close', resolve))
  return {
    firstLines: (count) =>
      new Promise((resolve, reject) => {
        if (lines.length >= count) resolve([...lines])
        reader.on('line', () => lines.length >= count && resolve([...lines]))
        void ended.then(() => reject(new Error(`the writer ended after ${lines.length} lines`)))
      }),
    async kill() {
      child.kill('SIGKILL')
      await ended
      return lines
    },
  }
}
