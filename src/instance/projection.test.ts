import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PHASES } from './phase.ts'
import { KOYEB_STATUSES, koyebStatus, phasesOfKoyebStatus } from './projection.ts'

test('every phase has one status, every status has phases, and deleted instances are found by none', () => {
  for (const phase of PHASES) assert.ok(KOYEB_STATUSES.includes(koyebStatus(phase)), phase)
  for (const status of KOYEB_STATUSES) assert.ok(phasesOfKoyebStatus(status).length > 0, status)
  const found = KOYEB_STATUSES.flatMap(phasesOfKoyebStatus)
  assert.deepEqual(found.toSorted(), PHASES.filter(phase => phase !== 'deleted').toSorted())
})
