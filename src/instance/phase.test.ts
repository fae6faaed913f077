import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { PHASES, holdsCompute, isLegalStep, isServing, isSettled, nextPhases } from './phase.ts'
import type { Phase } from './phase.ts'

function reachable(from: Phase): ReadonlySet<Phase> {
  const seen = new Set<Phase>([from])
  for (const phase of seen) for (const next of nextPhases(phase)) seen.add(next)
  return seen
}

/** A life: legal steps from `pending`, chosen by the numbers. */
const life = fc.array(fc.nat(), { maxLength: 60 }).map((choices) => {
  const phases: Phase[] = ['pending']
  for (const choice of choices) {
    const next = nextPhases(phases.at(-1) ?? 'deleted')
    const to = next[choice % next.length]
    if (to === undefined) break
    phases.push(to)
  }
  return phases
})

test('the table names only phases, no step twice, and no step to itself', () => {
  for (const from of PHASES) {
    const next = nextPhases(from)
    assert.equal(new Set(next).size, next.length, from)
    for (const to of next) assert.ok(PHASES.includes(to) && to !== from, `${from} → ${to}`)
  }
})

test('isLegalStep says what the table says', () => {
  for (const from of PHASES) for (const to of PHASES) assert.equal(isLegalStep(from, to), nextPhases(from).includes(to))
})

test('no sequence of legal steps leaves deleted', () => {
  assert.deepEqual(nextPhases('deleted'), [])
  fc.assert(
    fc.property(life, (phases) => {
      const end = phases.indexOf('deleted')
      assert.ok(end === -1 || end === phases.length - 1)
    }),
  )
})

test('deleted is entered from deleting alone, and every other phase can go there in two steps', () => {
  for (const phase of PHASES) {
    assert.equal(isLegalStep(phase, 'deleted'), phase === 'deleting')
    if (phase !== 'deleting' && phase !== 'deleted') assert.ok(isLegalStep(phase, 'deleting'), phase)
  }
})

test('every phase is reached from pending, and from every living phase every resting phase can be reached', () => {
  assert.deepEqual([...reachable('pending')].toSorted(), [...PHASES].toSorted())
  for (const phase of PHASES) {
    if (phase === 'deleted') continue
    for (const goal of ['running', 'standby', 'stopped', 'deleted'] as const) {
      assert.ok(reachable(phase).has(goal), `${phase} never reaches ${goal}`)
    }
  }
})

test('a guest serves only where a VMM may be', () => {
  for (const phase of PHASES) if (isServing(phase)) assert.ok(holdsCompute(phase), phase)
})

test('compute is taken only where it is admitted: on the way to a host, or back from standby', () => {
  const gains = PHASES.filter((from) => !holdsCompute(from)).flatMap((from) =>
    nextPhases(from)
      .filter((to) => holdsCompute(to))
      .map((to) => `${from} → ${to}`),
  )
  const admitted = ['allocated', 'restoring']
  // These hold what was reserved before, if anything: they never ask for more.
  const closing = ['stopping', 'deleting', 'lost']
  for (const step of gains) assert.ok([...admitted, ...closing].some((to) => step.endsWith(` ${to}`)), step)
})

test('in any life, whoever serves was admitted since it last rested', () => {
  fc.assert(
    fc.property(life, (phases) => {
      let admitted = false
      for (const [index, phase] of phases.entries()) {
        if (phase === 'allocated' || phase === 'restoring') admitted = true
        // A lost host may have kept anything; what it reports is accounted for by reconciliation.
        if (phases[index - 1] === 'lost') admitted = true
        if (!holdsCompute(phase)) admitted = false
        if (isServing(phase)) assert.ok(admitted, phases.join(' → '))
      }
    }),
    { numRuns: 2000 },
  )
})

test('a phase that is not settled always has a way on', () => {
  for (const phase of PHASES) {
    if (!isSettled(phase)) assert.ok(nextPhases(phase).length > 0, phase)
  }
  assert.ok(isSettled('deleted'))
})

test('whatever works on a VM may fail, and failure can be started again or deleted', () => {
  for (const phase of PHASES) {
    if (holdsCompute(phase)) assert.ok(isLegalStep(phase, 'failed'), phase)
  }
  for (const to of ['pending', 'allocated', 'stopped', 'deleting'] as const) assert.ok(isLegalStep('failed', to))
})
