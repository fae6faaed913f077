import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describeStore } from './contract.ts'
import { openStore } from './open.ts'

describeStore('on SQLite', async () => {
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
})
