import assert from 'node:assert/strict'
import { appendFile, mkdtemp, rename, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { LogRecord } from '../../engine/host-port.ts'
import { cutInPlace, follow, nextPath, readTail, rotateAway, rotatedPath, turnOver, type LogFile } from './log-file.ts'
import { LineReader, MAX_RECORD_BYTES } from './log-lines.ts'

const TIME = '2026-01-01T00:00:00.000000000Z'
let dir = ''
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'berth-log-'))
})
after(() => rm(dir, { recursive: true, force: true }))

async function textsOf(file: LogFile, tail: number | null): Promise<string[]> {
  const texts: string[] = []
  for await (const { text } of readTail(file, tail)) texts.push(text)
  return texts
}

function file(name: string, format: LogFile['format'] = 'stderr'): LogFile {
  return { path: join(dir, name), format }
}

describe('readTail', () => {
  it('gives the last lines, all of them, or none', async () => {
    const log = file('plain')
    await writeFile(log.path, 'a\nb\nc\n')
    assert.deepEqual(await textsOf(log, 2), ['b', 'c'])
    assert.deepEqual(await textsOf(log, null), ['a', 'b', 'c'])
    assert.deepEqual(await textsOf(log, 0), [])
    assert.deepEqual(await textsOf(log, 99), ['a', 'b', 'c'])
    assert.deepEqual(await textsOf(file('not-there'), 5), [])
  })

  it('goes on in the older file where the newer one has too few', async () => {
    const log = file('rotated')
    await writeFile(rotatedPath(log.path), '1\n2\n3\n')
    await writeFile(log.path, '4\n5\n')
    assert.deepEqual(await textsOf(log, 3), ['3', '4', '5'])
    assert.deepEqual(await textsOf(log, 2), ['4', '5'])
    assert.deepEqual(await textsOf(log, null), ['1', '2', '3', '4', '5'])
    await writeFile(log.path, '')
    assert.deepEqual(await textsOf(log, 2), ['2', '3'])
  })

  it('is right across the borders of what is read at once', async () => {
    const log = file('long')
    const lines = Array.from({ length: 30_000 }, (_, index) => `line ${index}`)
    await writeFile(log.path, `${lines.join('\n')}\n`)
    for (const tail of [1, 5_000, 20_000, 29_999, 30_000]) assert.deepEqual(await textsOf(log, tail), lines.slice(-tail))
  })

  it('counts a long line, which the agent writes in pieces, as one', async () => {
    const log = file('pieces', 'cri')
    await writeFile(log.path, [`${TIME} stdout F first`, `${TIME} stdout P second-`, `${TIME} stdout P goes-`, `${TIME} stdout F on`, `${TIME} stdout F third`, ''].join('\n'))
    assert.deepEqual(await textsOf(log, 2), ['second-', 'goes-', 'on', 'third'])
    assert.deepEqual(await textsOf(log, 3), ['first', 'second-', 'goes-', 'on', 'third'])
  })

  it('leaves out the agent’s own records', async () => {
    const log = file('own', 'cri')
    await writeFile(log.path, `${TIME} stdout F said\n${TIME} berth F exit code=0 signal=0 reason=exited\n`)
    assert.deepEqual(await textsOf(log, null), ['said'])
  })
})

describe('follow', () => {
  it('gives what is appended, goes on in the new file after a rotation, and from the start after a cut', async () => {
    const log = file('followed')
    await writeFile(log.path, 'old\n')
    const over = new AbortController()
    const records = follow(log, 4, over.signal)[Symbol.asyncIterator]()
    const next = async () => (await records.next()).value?.text
    const first = next()
    await appendFile(log.path, 'one\nhalf')
    assert.equal(await first, 'one')
    const second = next()
    await appendFile(log.path, '-whole\n')
    assert.equal(await second, 'half-whole')
    const third = next()
    await appendFile(log.path, 'last of the old\n')
    await rename(log.path, rotatedPath(log.path))
    await writeFile(log.path, 'first of the new\n')
    assert.equal(await third, 'last of the old')
    assert.equal(await next(), 'first of the new')
    const fifth = next()
    await truncate(log.path, 0)
    await appendFile(log.path, 'cut\n')
    assert.equal(await fifth, 'cut')
    const end = records.next()
    over.abort()
    assert.equal((await end).done, true)
  })

  it('ends when the log is removed', async () => {
    const log = file('removed')
    await writeFile(log.path, '')
    const records = follow(log, 0, new AbortController().signal)[Symbol.asyncIterator]()
    const end = records.next()
    await rm(log.path)
    assert.equal((await end).done, true)
  })
})

describe('rotation', () => {
  it('loses no line of a follower, however often it happens while that one is busy', async () => {
    const log = file('busy')
    await writeFile(log.path, 'one\n')
    const over = new AbortController()
    const records = follow(log, 0, over.signal)[Symbol.asyncIterator]()
    const next = async () => (await records.next()).value?.text
    assert.equal(await next(), 'one')
    for (const text of ['two', 'three']) {
      await writeFile(nextPath(log.path), `${text}\n`)
      await turnOver(log.path)
    }
    assert.deepEqual([await next(), await next()], ['two', 'three'])
    await rename(log.path, rotatedPath(log.path))
    setTimeout(() => void writeFile(log.path, 'four\n'), 120)
    assert.equal(await next(), 'four')
    over.abort()
    assert.equal((await records.next()).done, true)
  })

  it('found half-way is finished, and finished it stays', async () => {
    const log = file('half')
    await writeFile(log.path, 'old\n')
    await writeFile(nextPath(log.path), 'new\n')
    await turnOver(log.path)
    await turnOver(log.path)
    assert.deepEqual(await textsOf(log, null), ['old', 'new'])
  })

  it('happens above the limit only; a cut keeps what was there', async () => {
    const log = file('turning')
    await writeFile(log.path, '0123456789')
    assert.equal(await rotateAway(log.path, 10), false)
    await cutInPlace(log.path, 9)
    assert.deepEqual(await textsOf({ ...log, path: rotatedPath(log.path) }, null), ['0123456789'])
    await writeFile(log.path, '0123456789')
    assert.equal(await rotateAway(log.path, 9), true)
    assert.equal(await rotateAway(log.path, 9), false)
  })
})

describe('LineReader', () => {
  const read = (chunks: readonly Buffer[], format: LogFile['format'] = 'stderr'): LogRecord[] => {
    const reader = new LineReader(format)
    return [...chunks.flatMap((chunk) => [...reader.push(chunk)]), ...reader.flush()]
  }

  it('doesn’t care how bytes are cut', () => {
    const bytes = Buffer.from('ä\nö ü\n\nend')
    const whole = read([bytes])
    assert.deepEqual(whole.map(({ text }) => text), ['ä', 'ö ü', '', 'end'])
    assert.deepEqual(read(Array.from(bytes, (byte) => Buffer.from([byte]))), whole)
  })

  it('tells a line of any length in pieces that end between characters', () => {
    const line = 'ä'.repeat(MAX_RECORD_BYTES)
    const records = read([Buffer.from(`x${line}\n`)])
    assert.equal(records.map(({ text }) => text).join(''), `x${line}`)
    assert.deepEqual(records.map(({ partial }) => partial), [...records.slice(1).map(() => true), false])
  })

  it('keeps a reader’s screen from being cleared by the guest’s firmware', () => {
    assert.deepEqual(read([Buffer.from('\x1bc\x1b[?7l\x1b[2JSeaBIOS\r\n')], 'console').map(({ text }) => text), ['SeaBIOS'])
  })

  it('reads the time of the server’s own lines', () => {
    assert.deepEqual(read([Buffer.from('2026-01-01T00:00:00.500Z did it\n')], 'timed'), [{ at: Date.parse('2026-01-01T00:00:00.500Z'), stream: 'stdout', text: 'did it', partial: false }])
  })
})
