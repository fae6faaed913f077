/** Automatic standby while one instance takes its time to fall asleep. */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { Instance, InstanceId } from '../../instance/model.ts'
import type { Core } from '../core.ts'
import { Activity } from '../services/activity.ts'
import { FALLING_LIMIT, InboundKeeper } from './inbound-keeper.ts'

const autoStandby = { enabled: true, idleAfterMs: 1, ignoreSources: [], ignorePorts: [] }
const watched = Array.from({ length: FALLING_LIMIT + 3 }, (_, at) =>
  ({ id: `i${at}`, phase: 'running', desired: 'running', generation: 1, startedAt: 1, hostId: 'h', address: { ip: `10.0.0.${at}` }, spec: { autoStandby } }) as unknown as Instance)
/** Nobody is connected to anything. */
const link = { host: { inbound: async () => [] } }
const core = {
  now: () => Date.now(),
  bus: { listen: () => () => {} },
  fleet: { link: () => link },
  logger: { warn: (details: unknown, message: string) => assert.fail(`${message} ${JSON.stringify(details)}`) },
} as unknown as Core

test('one that is slow to fall asleep delays no other, and no more fall at a time than the limit', async () => {
  const told: InstanceId[] = []
  const slow = Promise.withResolvers<Instance>()
  const rest = Promise.withResolvers<void>()
  let falling = 0
  let most = 0
  const keeper = new InboundKeeper(core, async (_caller, id) => {
    told.push(id)
    falling++
    most = Math.max(most, falling)
    if (told.length === watched.length) rest.resolve()
    const instance = id === watched[0]?.id ? await slow.promise : await new Promise<Instance>(resolve => setImmediate(() => resolve(watched[1] as Instance)))
    falling--
    return instance
  }, new Activity(() => Date.now()))
  // The keeper's own timer keeps no process up.
  const up = setInterval(() => {}, 1000)
  after(() => {
    clearInterval(up)
    return keeper.close()
  })
  keeper.start(watched)
  await rest.promise
  assert.deepEqual(told.toSorted(), watched.map(({ id }) => id).toSorted(), 'each once, though the first has not answered yet')
  assert.equal(most, FALLING_LIMIT)
  slow.resolve(watched[0] as Instance)
})
