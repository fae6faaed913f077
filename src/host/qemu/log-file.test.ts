import assert from 'node:assert/strict'
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { follow, readTail } from './log-file.ts'

const dir = mkdtempSync(join(tmpdir(), 'berth-log-'))
after(() => rmSync(dir, { recursive: true }))

test('a line that is half written when a follower comes is told once and whole', async () => {
  const file = { path: join(dir, 'app.log'), format: 'cri' } as const
  writeFileSync(file.path, '2026-01-01T00:00:00.000000001Z stdout F one\n2026-01-01T00:00:00.000000002Z stdout F tw')
  const told: string[] = []
  const there = readTail(file, null, false)
  let offset = 0
  for (;;) {
    const step = await there.next()
    if (step.done === true) {
      offset = step.value
      break
    }
    told.push(step.value.text)
  }
  assert.deepEqual(told, ['one'])
  const ended = new AbortController()
  const coming = follow(file, offset, ended.signal)
  const next = coming.next()
  appendFileSync(file.path, 'o\n')
  const step = await next
  ended.abort()
  await coming.return(undefined)
  assert.equal(step.done === true ? null : step.value.text, 'two')
})

test('without a follower the half line is told too', async () => {
  const file = { path: join(dir, 'whole.log'), format: 'cri' } as const
  writeFileSync(file.path, '2026-01-01T00:00:00.000000001Z stdout F one\n2026-01-01T00:00:00.000000002Z stdout F tw')
  const told: string[] = []
  for await (const { text } of readTail(file, null)) told.push(text)
  assert.deepEqual(told, ['one', 'tw'])
})
