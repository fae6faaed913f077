/** The pure parts of the Koyeb wire: times, frames, ids, and matching lines. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BerthError } from '../../instance/errors.ts'
import { isUuidV4 } from '../../instance/ids.ts'
import type { InstanceId, ProjectId } from '../../instance/model.ts'
import { PHASES } from '../../instance/phase.ts'
import { presentError, presentStatus as presentRpc } from './errors.ts'
import { readFrame } from './frame.ts'
import { allocationId, defaultIds, derivedId, instanceOfAllocation } from './ids.ts'
import { lineMatcher, MATCH_LIMIT_MS } from './match.ts'
import { phasesOfStatus, presentStatus } from './present.ts'
import { INSTANCE_STATUSES } from './schema.ts'
import { formatTime, parseTime } from './timestamp.ts'

const AT = Date.UTC(2026, 0, 1, 10, 0, 0)

test('times are read in every form that a client sends', () => {
  const table: readonly (readonly [string, number | null])[] = [
    ['2026-01-01T10:00:00Z', AT],
    ['2026-01-01T10:00:00.000Z', AT],
    ['2026-01-01T10:00:00.250000+0000', AT + 250],
    ['2026-01-01T12:00:00+02:00', AT],
    ['2026-01-01T12:00:00 02:00', AT],
    ['2026-01-01T08:30:00-0130', AT],
    ['2026-01-01T10:00:00.000000', AT],
    ['2026-01-01T10:00:00', AT],
    ['2026-01-01', null],
    ['2026-13-01T10:00:00Z', null],
    ['yesterday', null],
    ['', null],
  ]
  for (const [text, expected] of table) assert.equal(parseTime(text), expected, text)
})

test('times are written with six digits and Z, and read back', () => {
  assert.equal(formatTime(AT), '2026-01-01T10:00:00.000000Z')
  assert.equal(formatTime(AT + 1.234), '2026-01-01T10:00:00.001234Z')
  assert.equal(parseTime(formatTime(AT + 7)), AT + 7)
})

test('a frame is read in both spellings, with null for absent', () => {
  const snake = readFrame('{"id":"x","id_type":"SERVICE_ID","body":{"command":["a"],"tty_size":{"height":5,"width":6},"disable_tty":true}}')
  const camel = readFrame('{"id":"x","idType":"SERVICE_ID","body":{"command":["a"],"ttySize":{"height":5,"width":6},"disableTty":true,"stdin":null},"other":1}')
  assert.deepEqual(snake, camel)
  assert.deepEqual(snake.size, { rows: 5, cols: 6 })
  assert.deepEqual(readFrame('{"body":{"tty_size":{"height":0,"width":0},"command":[]}}'), readFrame('{}'))
})

test('a frame that is wrong says which field', () => {
  for (const [text, field] of [
    ['nonsense', 'body'],
    ['[]', 'frame'],
    ['{"id":1}', 'id'],
    ['{"id_type":"X"}', 'id_type'],
    ['{"body":[]}', 'body'],
    ['{"body":{"command":[1]}}', 'body.command'],
    ['{"body":{"tty_size":{"height":-1,"width":2}}}', 'body.tty_size.height'],
    ['{"body":{"tty_size":{"height":70000,"width":2}}}', 'body.tty_size'],
    ['{"body":{"stdin":{"data":"a"}}}', 'body.stdin.data'],
    ['{"body":{"stdin":{"data":"YQ"}}}', 'body.stdin.data'],
    ['{"body":{"stdin":{"close":"yes"}}}', 'body.stdin.close'],
    ['{"body":{"disableTty":1}}', 'body.disableTty'],
  ] as const) {
    assert.throws(
      () => readFrame(text),
      (error: unknown) => error instanceof BerthError && error.details['field'] === field,
      text,
    )
  }
})

test('ids that are derived are UUID v4, always the same, and an allocation leads back to its instance', () => {
  const id = '2f4b1f0a-6c1c-4c0e-9b42-0a6c3b7f7c11' as InstanceId
  const ids = Object.values(defaultIds(id as unknown as ProjectId))
  assert.deepEqual(ids, Object.values(defaultIds(id as unknown as ProjectId)))
  assert.equal(new Set(ids).size, 4)
  for (let index = 0; index < 1000; index++) assert.ok(isUuidV4(derivedId(String(index))))
  assert.ok(isUuidV4(allocationId(id)))
  assert.notEqual(allocationId(id), id)
  assert.equal(instanceOfAllocation(allocationId(id)), id)
  assert.equal(instanceOfAllocation('nonsense'), null)
})

test('every phase has a status of the closed set, and every status leads back to its phases', () => {
  for (const phase of PHASES) assert.ok(INSTANCE_STATUSES.includes(presentStatus({ phase })), phase)
  assert.deepEqual(INSTANCE_STATUSES.flatMap(status => phasesOfStatus(status)).toSorted(), PHASES.toSorted())
})

test('errors have one of the statuses that clients decode, and fields with 400', () => {
  for (const code of ['invalid_request', 'unauthenticated', 'forbidden', 'not_found', 'rate_limited', 'internal', 'timeout', 'name_conflict'] as const) {
    const { status, body } = presentError(new BerthError(code, 'words'))
    assert.ok([400, 401, 403, 404, 429, 500, 503].includes(status), code)
    assert.equal('fields' in (body as object), status === 400)
  }
  assert.equal(presentRpc(new BerthError('invalid_state', 'words')).code, 9)
})

test('a line matches a text or an expression; one that takes for ever is ended', () => {
  assert.deepEqual(lineMatcher(null, null)(['a', 'b']), [true, true])
  assert.deepEqual(lineMatcher(null, 'a.')(['a.b', 'axb']), [true, false])
  assert.deepEqual(lineMatcher('^a.b$', null)(['axb', 'axbc']), [true, false])
  assert.throws(() => lineMatcher('(', null), BerthError)
  const started = Date.now()
  assert.throws(() => lineMatcher('^(a+)+$', null)([`${'a'.repeat(60)}!`]), /takes longer/)
  assert.ok(Date.now() - started < MATCH_LIMIT_MS * 20)
})
