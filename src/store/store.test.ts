import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describeMarketStore } from './contract-market.ts'
import { describeStore } from './contract.ts'
import type { StoreUnderTest } from './contract-fixture.ts'
import { openStore } from './open.ts'

async function onSqlite(): Promise<StoreUnderTest> {
  const directory = await mkdtemp(join(tmpdir(), 'berth-store-'))
  const path = join(directory, 'data', 'berth.db')
  let store = await openStore({ path })
  return {
    store,
    async reopen() {
      await store.close()
      store = await openStore({ path })
      return store
    },
    async dispose() {
      await store.close()
      await rm(directory, { recursive: true })
    },
  }
}

describeStore('on SQLite', onSqlite)
describeMarketStore('on SQLite', onSqlite)
