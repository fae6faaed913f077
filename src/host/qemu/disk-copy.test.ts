import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BerthError } from '../../instance/errors.ts'
import { sweepCopies } from './disk-copy.ts'
import { QmpRefusal, type QmpClient } from './qmp.ts'

test('a copy that ends just when it is given up is removed like any other', async () => {
  let status = 'running'
  const done: string[] = []
  const answers: Record<string, () => unknown> = {
    'query-jobs': () => (done.includes('job-dismiss') ? [] : [{ id: 'copy-overlay', status }]),
    'block-job-cancel': () => {
      status = 'concluded'
      const cause = new QmpRefusal('GenericError', "Job 'copy-overlay' in state 'concluded' cannot accept command verb 'cancel'")
      throw new BerthError('internal', cause.message, { cause })
    },
    'query-named-block-nodes': () => [{ 'node-name': 'overlay', 'dirty-bitmaps': [{ name: 'berth-copy' }] }, { 'node-name': 'copy-overlay' }],
  }
  const execute = async (command: string) => {
    done.push(command)
    return answers[command]?.() ?? {}
  }
  const waits: (AbortSignal | undefined)[] = []
  const nextEvent = (_matches: unknown, _timeoutMs: number, signal?: AbortSignal) => {
    waits.push(signal)
    return new Promise(() => undefined)
  }
  await sweepCopies({ execute, nextEvent } as unknown as QmpClient)
  assert.deepEqual(done.filter((command) => !command.startsWith('query')), ['block-job-cancel', 'job-dismiss', 'blockdev-del', 'block-dirty-bitmap-remove'])
  assert.deepEqual(waits.map((signal) => signal?.aborted), [true], 'nothing is waited for any more')
})
