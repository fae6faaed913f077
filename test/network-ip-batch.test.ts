/** Many who ask `ip` at once, on the real one: each gets what it asked for, or its own failure. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { after, describe, it } from 'node:test'
import { CommandFailed } from '../src/host/command.ts'
import { ipBatch } from '../src/host/network/ip-batch.ts'
import { removeTaps } from '../src/host/network/tap.ts'
import { isRoot } from './host-lab.ts'

describe('lines of ip', { skip: !isRoot && 'making interfaces needs root' }, () => {
  const prefix = `ipb${randomBytes(4).toString('hex')}`
  const taps = Array.from({ length: 6 }, (_, index) => `${prefix}${index}`)
  after(() => removeTaps(taps))
  const make = (tap: string) => ipBatch([`tuntap add dev ${tap} mode tap`, `link set dev ${tap} alias ${tap}`])

  it('that many ask for at once all run, and who asks for what can’t be is told so alone', async () => {
    const wrong = () => ipBatch([`link set dev ${prefix}none up`, `link delete dev ${taps[0]}`])
    const [first, ...rest] = taps
    const asked = [make(first ?? ''), wrong(), ...rest.slice(0, 2).map(make), wrong(), ...rest.slice(2).map(make)]
    const settled = await Promise.allSettled(asked)
    assert.deepEqual(settled.map(({ status }) => status), ['fulfilled', 'rejected', 'fulfilled', 'fulfilled', 'rejected', 'fulfilled', 'fulfilled', 'fulfilled'])
    for (const result of settled) {
      if (result.status === 'rejected') assert.ok(result.reason instanceof CommandFailed && /Cannot find device/.test(result.reason.stderr), String(result.reason))
    }
    assert.deepEqual(taps.filter((tap) => !existsSync(`/sys/class/net/${tap}`)), [])
  })
})
