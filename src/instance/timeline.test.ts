import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { InstanceEvent, InstanceId, ProjectId } from './model.ts'
import { PHASES } from './phase.ts'
import type { Phase } from './phase.ts'
import { elapsedMs, phaseDurationsMs, timeline } from './timeline.ts'

function events(...steps: readonly (readonly [Phase, number])[]): InstanceEvent[] {
  return steps.map(([to, at], index) => ({
    seq: index + 1,
    instanceId: 'i' as InstanceId,
    projectId: 'p' as ProjectId,
    at,
    kind: 'phase',
    from: steps[index - 1]?.[0] ?? null,
    to,
    reason: null,
  }))
}

test('each stay lasts until the next one begins, and the last until now', () => {
  const life = events(['pending', 100], ['allocated', 105], ['running', 300], ['stopped', 400], ['allocated', 450], ['running', 500])
  assert.deepEqual(
    timeline(life, 600).map((step) => [step.phase, step.durationMs, step.until]),
    [
      ['pending', 5, 105],
      ['allocated', 195, 300],
      ['running', 100, 400],
      ['stopped', 50, 450],
      ['allocated', 50, 500],
      ['running', 100, null],
    ],
  )
  assert.deepEqual(phaseDurationsMs(life, 600), { pending: 5, allocated: 245, running: 200, stopped: 50 })
  assert.equal(elapsedMs(life, 'pending', 'running'), 200)
  assert.equal(elapsedMs(life, 'stopped', 'running'), 100)
  assert.equal(elapsedMs(life, 'running', 'standby'), null)
  assert.equal(elapsedMs(life, 'standby', 'running'), null)
})

test('notes change nothing, and nothing comes of nothing', () => {
  const life = events(['pending', 0], ['running', 10])
  const note: InstanceEvent = { ...(life[0] as InstanceEvent), seq: 9, kind: 'note', at: 5, to: 'running', reason: 'attached' }
  assert.deepEqual(timeline([...life, note], 20), timeline(life, 20))
  assert.deepEqual(timeline([], 5), [])
  assert.deepEqual(phaseDurationsMs([], 5), {})
})

test('durations of an orderly clock add up to the whole life, in whatever order events arrive', () => {
  const gaps = fc.array(fc.tuple(fc.constantFrom(...PHASES), fc.integer({ min: 0, max: 1e6 })), { minLength: 1, maxLength: 20 })
  fc.assert(
    fc.property(gaps, fc.integer({ min: 0, max: 1e6 }), (steps, last) => {
      let at = 1000
      const life = events(...steps.map(([phase, gap]) => [phase, (at += gap)] as const))
      const total = Object.values(phaseDurationsMs(life.toReversed(), at + last)).reduce((sum, ms) => sum + ms, 0)
      assert.equal(total, at + last - (life[0]?.at ?? 0))
    }),
  )
})

test('a clock that was set back gives 0, never less', () => {
  fc.assert(
    fc.property(fc.array(fc.integer(), { minLength: 1, maxLength: 10 }), fc.integer(), (times, now) => {
      const steps = timeline(events(...times.map((at) => ['running', at] as const)), now)
      assert.ok(steps.every((step) => step.durationMs >= 0))
    }),
  )
})
