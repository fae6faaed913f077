import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { Identity } from '../dialects/dialect.ts'
import { BerthError } from '../instance/errors.ts'
import { FAILURES_LIMIT, FAILURES_WINDOW_MS, openSessions, SESSION_MS, SESSIONS_LIMIT } from './sessions.ts'

const dir = mkdtempSync(join(tmpdir(), 'berth-sessions-'))
after(() => rmSync(dir, { recursive: true, force: true }))

const KEY = 'a-key-that-is-known'
let files = 0

function sessions() {
  const clock = { now: 1_000_000 }
  const file = join(dir, `${files++}.json`)
  const options = { file, now: () => clock.now, authenticate: async (secret: string) => (secret === KEY ? ({} as Identity) : null) }
  return { clock, file, open: () => openSessions(options) }
}

const isCode = (code: string) => (error: unknown) => error instanceof BerthError && error.code === code

test('a token stands for its key until the session is closed or over', async () => {
  const { clock, open } = sessions()
  const kept = open()
  const { token, expiresAt } = await kept.open(KEY, '1')
  const other = await kept.open(KEY, '1')
  assert.equal(expiresAt, clock.now + SESSION_MS)
  assert.equal(kept.secretOf(token), KEY)
  kept.close(token)
  assert.equal(kept.secretOf(token), null)
  assert.equal(kept.secretOf(other.token), KEY)
  clock.now += SESSION_MS
  assert.equal(kept.secretOf(other.token), null)
})

test('sessions outlive the server, and the file that keeps them holds neither keys nor tokens', async () => {
  const { file, open } = sessions()
  const { token } = await open().open(KEY, '1')
  assert.equal(open().secretOf(token), KEY)
  const text = readFileSync(file, 'utf8')
  assert.ok(!text.includes(KEY) && !text.includes(token) && !text.includes(Buffer.from(KEY).toString('base64').slice(0, 12)))
  assert.equal(statSync(file).mode & 0o777, 0o600)
})

test('a token that is nobody’s, or not of our making, opens nothing', async () => {
  const { open } = sessions()
  const kept = open()
  const { token } = await kept.open(KEY, '1')
  for (const wrong of ['', 'x', `${token}x`, token.toLowerCase(), 'A'.repeat(43)]) assert.equal(kept.secretOf(wrong), null)
})

test('the eleventh wrong key of an address within a minute is not even looked at', async () => {
  const { clock, open } = sessions()
  const kept = open()
  for (let count = 0; count < FAILURES_LIMIT; count++) await assert.rejects(kept.open('wrong', '1'), isCode('unauthenticated'))
  await assert.rejects(kept.open(KEY, '1'), isCode('rate_limited'))
  assert.ok(await kept.open(KEY, '2'), 'another address is not held back')
  clock.now += FAILURES_WINDOW_MS
  assert.ok(await kept.open(KEY, '1'))
})

test('the oldest session makes room for one too many', async () => {
  const { open } = sessions()
  const kept = open()
  const first = await kept.open(KEY, '1')
  const second = await kept.open(KEY, '1')
  for (let count = 2; count <= SESSIONS_LIMIT; count++) await kept.open(KEY, '1')
  assert.equal(kept.secretOf(first.token), null)
  assert.equal(kept.secretOf(second.token), KEY)
})
