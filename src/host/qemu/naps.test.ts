import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KeptSpec } from '../../engine/host-port.ts'
import { Naps } from './naps.ts'
import type { Live, Seat } from './seat.ts'

const MIB = 1024 * 1024
const SPEC = { vcpus: 1, memoryBytes: 128 * MIB, overlayBytes: 64 * MIB, diskIoBytesPerSecond: null, network: null } as unknown as KeptSpec

/** A seat whose VM naps; `quit` says how often its process refuses to end. */
function napping(id: string, refusals: number): { readonly seat: Seat; readonly live: Live; readonly quits: () => number } {
  let quits = 0
  const quit = async () => {
    quits += 1
    if (quits <= refusals) throw new Error('it does not end')
  }
  const vmm = { ended: new Promise(() => undefined), hasEnded: false, identity: { pid: process.pid }, quit, qmp: { execute: async () => ({}) } }
  const seat = { id, known: { spec: SPEC }, context: { cgroups: { remove: async () => undefined } }, believe: async () => undefined, serially: (work: () => Promise<void>) => work() }
  return { seat: seat as unknown as Seat, live: { vmm, link: null, exit: null } as unknown as Live, quits: () => quits }
}

function napsThatTell(): { readonly naps: Naps; readonly said: string[] } {
  const said: string[] = []
  return { naps: new Naps(1024 * MIB, { info: () => undefined, warn: (_, text) => void said.push(text) }), said }
}

test('a nap that could not be ended is ended before anything else starts on its files', async () => {
  const { naps } = napsThatTell()
  const { seat, live, quits } = napping('one', 1)
  naps.keep(seat, live)
  await assert.rejects(naps.end(seat), /does not end/)
  assert.equal(await naps.take(seat, { ...SPEC, vcpus: 2 }), null)
  assert.equal(quits(), 2)
  await naps.end(seat)
  assert.equal(quits(), 2, 'it is gone')
  await naps.close()
})

test('one nap that does not end keeps none of the others, nor the server, from ending', async () => {
  const { naps, said } = napsThatTell()
  const all = [napping('one', Infinity), napping('two', 0)]
  for (const { seat, live } of all) naps.keep(seat, live)
  await naps.close()
  assert.deepEqual(all.map(({ quits }) => quits()), [1, 1])
  assert.equal(said.length, 1)
})
