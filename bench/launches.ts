/** How long an instance takes to be there, asleep, awake: figures of one at a time. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { TestServer } from '../test/support/server.ts'
import { create, firstOf, launchOnce, must, remove, says, untilImageTemplate, untilWaiting } from './berth.ts'
import { figureOf, timed, type Figure } from './figure.ts'

/** From the request that creates an instance to the first output of a command in it; a launch before has its image's template made. */
export async function launches(server: TestServer, samples: number): Promise<Figure> {
  await launchOnce(server, 'launch-first')
  await untilImageTemplate(server)
  return await bareLaunches(server, samples)
}

/** The same where an image has no template of its own. */
export async function bareLaunches(server: TestServer, samples: number): Promise<Figure> {
  const times: number[] = []
  for (let round = 0; round < samples; round += 1) times.push(await launchOnce(server, `launch-${round}`))
  return figureOf('ms', times)
}

/** Launches closer together than this have the pool make more than two, beside the next launch. */
const MOMENT_MS = 2_500

/** The same where one waits, warm or unstarted: the pool is filled again, and at rest, before the next. */
export async function poolLaunches(server: TestServer, samples: number): Promise<Figure> {
  const times: number[] = []
  // The first tells the pool which image and which disk are asked for.
  for (let round = 0; round <= samples; round += 1) {
    await sleep(MOMENT_MS)
    await untilWaiting(server, round > 0)
    const ms = await launchOnce(server, `pool-${round}`)
    if (round > 0) times.push(ms)
  }
  return figureOf('ms', times)
}

interface Sleeper {
  readonly name: string
  readonly down: number[]
  readonly up: number[]
}

/** Standby until it answers that it sleeps, and restore until a command has said something: of two sizes, in turn. */
export async function standbys(server: TestServer, samples: number): Promise<Readonly<Record<string, Figure>>> {
  // The first of a size boots; what is measured is a clone.
  await firstOf(server, 4096)
  const [small, large]: readonly [Sleeper, Sleeper] = [
    { name: 'sleeper-512', down: [], up: [] },
    { name: 'sleeper-4096', down: [], up: [] },
  ]
  try {
    await create(server, { name: small.name, size: '512MB' })
    await create(server, { name: large.name, size: '4096MB' })
    for (const { name } of [small, large]) await says(server, name, ['echo', 'up'], 'up')
    // The image's own template is made after its first launch of a size, beside whatever else is done then.
    for (const megabytes of [512, 4096]) await untilImageTemplate(server, megabytes)
    for (let round = 0; round < samples; round += 1) {
      for (const sleeper of [small, large]) await sleepAndWake(server, sleeper)
    }
  } finally {
    await Promise.allSettled([small, large].map(({ name }) => remove(server, name)))
  }
  return { standby_512: figureOf('ms', small.down), standby_4096: figureOf('ms', large.down), restore_files: figureOf('ms', small.up) }
}

/** Restore until a command has said something, where the process still naps. */
export async function naps(server: TestServer, samples: number): Promise<Figure> {
  const napper: Sleeper = { name: 'napper', down: [], up: [] }
  await create(server, { name: napper.name })
  try {
    await says(server, napper.name, ['echo', 'up'], 'up')
    await untilImageTemplate(server)
    for (let round = 0; round < samples; round += 1) await sleepAndWake(server, napper)
  } finally {
    await remove(server, napper.name)
  }
  return figureOf('ms', napper.up)
}

async function sleepAndWake(server: TestServer, { name, down, up }: Sleeper): Promise<void> {
  down.push(await timed(() => must(server, 'POST', `/instances/${name}/standby`)))
  up.push(
    await timed(async () => {
      await must(server, 'POST', `/instances/${name}/restore`)
      await says(server, name, ['echo', 'back'], 'back')
    }),
  )
}
