import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setImmediate as soon } from 'node:timers/promises'
import { Turns } from './turns.ts'

const NEVER_MS = 2 ** 31 - 1

describe('turns', () => {
  it('so many have one at once, and the others come in the order in which they asked', async () => {
    const turns = new Turns(2, NEVER_MS)
    const began: number[] = []
    const ends: (() => void)[] = []
    const asked = [0, 1, 2, 3, 4].map(async (index) => {
      ends[index] = await turns.take()
      began.push(index)
    })
    await soon()
    assert.deepEqual(began, [0, 1])
    ends[1]?.()
    // Said twice it ends no other's.
    ends[1]?.()
    await soon()
    assert.deepEqual(began, [0, 1, 2])
    ends[0]?.()
    ends[2]?.()
    await Promise.all(asked)
    assert.deepEqual(began, [0, 1, 2, 3, 4])
    for (const end of ends) end()
    for (const end of [await turns.take(), await turns.take()]) end()
  })

  it('one that is kept for long is given on all the same', async () => {
    const turns = new Turns(1, 1)
    const kept = await turns.take()
    // Its timer keeps no program from ending, so the test's own has to be there.
    const alive = setTimeout(() => undefined, 60_000)
    const next = await turns.take()
    clearTimeout(alive)
    kept()
    next()
    ;(await turns.take())()
  })
})
