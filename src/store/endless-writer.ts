/**
 * A process that writes to a store until it is killed, for the crash test: `node endless-writer.ts FILE`.
 * Each transaction inserts an instance, three events and a reservation; its id is printed once it is on the disk.
 */
import { writeSync } from 'node:fs'
import { HOST, aReservation, anEvent, anInstance } from './contract-fixture.ts'
import { openStore } from './open.ts'

/** Writers at once, so that commits are shared and the kill meets batches of several. */
const WRITERS = 8
const STDOUT = 1

const path = process.argv[2]
if (path === undefined) throw new Error('usage: node endless-writer.ts FILE')
const store = await openStore({ path })

async function writeForever(): Promise<never> {
  for (;;) {
    const instance = anInstance({ hostId: HOST })
    await store.transaction(async (tx) => {
      await tx.insertInstance(instance)
      await tx.appendEvent(anEvent(instance, 'pending'))
      await tx.appendEvent(anEvent(instance, 'allocated'))
      await tx.putReservation(aReservation(instance.id, { ports: [`tcp/${instance.id}`] }))
      await tx.appendEvent(anEvent(instance, 'preparing'))
    })
    // Synchronously: what was printed was acknowledged before the kill.
    writeSync(STDOUT, `${instance.id}\n`)
  }
}

await Promise.all(Array.from({ length: WRITERS }, writeForever))
