/** What every Store must do, as a suite of tests: `describeStore('on SQLite', makeStore)`. */
import { afterEach, beforeEach, describe } from 'node:test'
import type { Store } from '../engine/store-port.ts'
import type { InstanceEvent } from '../instance/model.ts'
import { type StoreUnderTest, type StoreBench } from './contract-fixture.ts'
import { describeInstances } from './contract-instances.ts'
import { describeThings } from './contract-things.ts'
import { describeTransactions } from './contract-transactions.ts'

/** Runs the suite over stores that `make` opens, each empty. */
export function describeStore(name: string, make: () => Promise<StoreUnderTest>): void {
  describe(`a store ${name}`, () => {
    let under: StoreUnderTest
    const bench: StoreBench = {
      get store() {
        return store
      },
      set store(another) {
        store = another
      },
      reopen: () => under.reopen(),
      insert: (...instances) =>
        store.transaction(async (tx) => {
          for (const instance of instances) await tx.insertInstance(instance)
        }),
      append: (...events) =>
        store.transaction(async (tx) => {
          const appended: InstanceEvent[] = []
          for (const event of events) appended.push(await tx.appendEvent(event))
          return appended
        }),
    }
    let store: Store
    beforeEach(async () => {
      under = await make()
      store = under.store
    })
    afterEach(() => under.dispose())

    describeTransactions(bench)
    describeInstances(bench)
    describeThings(bench)
  })
}
