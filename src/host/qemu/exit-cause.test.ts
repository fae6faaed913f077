import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { exitCause, exitRecord, type EndEvidence } from './exit-cause.ts'

const nothing: EndEvidence = { agent: null, shutdownReason: null, panicked: false, console: '', vmmLog: '', process: null, killedForMemory: false }

describe('exitCause', () => {
  const cases: readonly { readonly name: string; readonly known: Partial<EndEvidence>; readonly message: RegExp; readonly code: number }[] = [
    { name: 'the agent’s word counts before all else', known: { agent: { code: 3, signal: null, message: 'exited' }, shutdownReason: 'guest-shutdown' }, message: /^exited$/, code: 3 },
    { name: 'a power-off', known: { shutdownReason: 'guest-shutdown' }, message: /^powered off$/, code: 0 },
    { name: 'a panic by its words', known: { console: 'Kernel panic - not syncing: Attempted to kill init!\n', shutdownReason: 'guest-reset' }, message: /^guest panicked: Attempted/, code: 255 },
    { name: 'a panic that only the device told', known: { panicked: true }, message: /^guest panicked$/, code: 255 },
    { name: 'a panic for want of memory', known: { console: 'Kernel panic - not syncing: System is deadlocked on memory' }, message: /^out of memory$/, code: 137 },
    { name: 'a killed VMM', known: { process: { code: null, signal: 'SIGKILL' } }, message: /^VMM died: ended by SIGKILL$/, code: 137 },
    { name: 'a VMM that the host killed for memory', known: { process: { code: null, signal: 'SIGKILL' }, killedForMemory: true }, message: /memory limit/, code: 137 },
    { name: 'a VMM that complained', known: { process: { code: 1, signal: null }, vmmLog: 'qemu-system-x86_64: cannot do that\n' }, message: /^VMM died: cannot do that$/, code: 255 },
    { name: 'no evidence at all', known: {}, message: /^VMM died$/, code: 255 },
  ]
  for (const { name, known, message, code } of cases) {
    it(name, () => {
      const exit = exitCause({ ...nothing, ...known })
      assert.match(exit.message, message)
      assert.equal(exit.code, code)
    })
  }
})

describe('exitRecord', () => {
  const log = '2026-01-01T00:00:00.000000000Z stdout F exit code=1 signal=0 reason=exited\n2026-01-01T00:00:01.000000000Z berth F exit code=9 signal=0 reason=exited\n'

  it('is the agent’s last record, never what the application printed', () => {
    assert.equal(exitRecord(log, 0)?.code, 9)
    assert.equal(exitRecord(log.split('\n').slice(0, 1).join('\n'), 0), null)
  })

  it('of an earlier life is none', () => {
    assert.equal(exitRecord(log, Date.parse('2026-01-01T00:00:02Z')), null)
  })
})
