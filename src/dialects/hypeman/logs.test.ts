import assert from 'node:assert/strict'
import test from 'node:test'
import type { LogRecord } from '../../engine/host-port.ts'
import { joinPartials } from './logs.ts'

async function joined(records: readonly (readonly [LogRecord['stream'], string, boolean])[]): Promise<readonly string[]> {
  async function* source(): AsyncGenerator<LogRecord> {
    for (const [stream, text, partial] of records) yield { at: null, stream, text, partial }
  }
  const lines: string[] = []
  for await (const line of joinPartials(source())) lines.push(line)
  return lines
}

test('pieces of a line become one line, each stream for itself', async () => {
  const lines = await joined([
    ['stdout', 'a', true],
    ['stderr', 'x', true],
    ['stdout', 'b', false],
    ['stderr', 'y', false],
    ['stdout', 'whole', false],
  ])
  assert.deepEqual(lines, ['ab', 'xy', 'whole'])
})

test('a line that never ends is told in parts, and one that was cut off at the end is told too', async () => {
  const piece = 'p'.repeat(600_000)
  const lines = await joined([
    ['stdout', piece, true],
    ['stdout', piece, true],
    ['stdout', 'rest', true],
  ])
  assert.deepEqual(lines.map(line => line.length), [1_200_000, 4])
})
