/** What the clients of each dialect hear of a defect: that there was one, and nothing of its insides. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { presentError as hypeman } from '../src/dialects/hypeman/errors.ts'
import { presentError as koyeb } from '../src/dialects/koyeb/errors.ts'
import { presentError as lambda } from '../src/dialects/lambda/errors.ts'
import { presentError as mithril } from '../src/dialects/mithril/errors.ts'
import { presentError as native } from '../src/dialects/native/errors.ts'
import { asBerthError } from '../src/instance/errors.ts'

const INSIDES = 'row 7 of table secrets'

for (const [name, present] of Object.entries({ hypeman, koyeb, lambda, mithril, native })) {
  test(`${name} answers a defect with 500 and keeps its insides for the log`, () => {
    const { status, headers, body } = present(asBerthError(new TypeError(INSIDES)))
    assert.equal(status, 500)
    assert.ok(!JSON.stringify([headers, body]).includes(INSIDES))
  })
}
