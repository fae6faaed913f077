/**
 * `npm run bench`: what Berth takes, beside what a user would pick instead, in one run on one machine.
 *
 *   --quick          fewer samples, less data        --only NAME     the figures of that name alone
 *   --json FILE      { machine, figures }            --results       writes bench/RESULTS.md
 *
 * Figures that belong together are taken on a server of their own. What can't be taken is told, and the others go on.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { apiFigures } from './api.ts'
import { firstOf, onServer, untilImageTemplate, untilTemplate } from './berth.ts'
import { execFigures } from './execs.ts'
import type { Figure } from './figure.ts'
import { forks } from './forks.ts'
import { bareLaunches, launches, naps, poolLaunches, standbys } from './launches.ts'
import { readMachine } from './machine.ts'
import { podmanFigures } from './podman.ts'
import { writeReadme } from './readme.ts'
import { figureJson, resultsPage } from './results.ts'
import { burst, crowd, serverStart } from './scale.ts'
import { webFigures } from './web.ts'

const { values: options } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, only: { type: 'string' }, json: { type: 'string' }, results: { type: 'boolean', default: false } },
})
const samples = options.quick ? 5 : 20
const figures: Record<string, Figure> = {}
const notes: string[] = []
const note = (text: string): void => {
  notes.push(text)
  console.log(text)
}

interface Group {
  readonly names: readonly string[]
  /** Tells by itself what can't be taken here. */
  readonly take: () => Promise<Readonly<Record<string, Figure>>>
}

const groups: readonly Group[] = [
  { names: ['podman_run', 'podman_exec'], take: () => podmanFigures(samples, note) },
  { names: ['launch_cold'], take: () => onServer({ BERTH_TEMPLATES: 'no' }, async (server) => ({ launch_cold: await bareLaunches(server, Math.min(samples, 5)) })) },
  {
    // No guest has run: QEMU alone waits, with the template's state in it.
    names: ['launch_unstarted'],
    take: () => onServer({ BERTH_POOL: 'unstarted' }, async (server) => ({ launch_unstarted: await poolLaunches(server, samples) })),
  },
  {
    names: ['launch_template'],
    take: () =>
      onServer({}, async (server) => {
        await untilTemplate(server)
        return { launch_template: await launches(server, samples) }
      }),
  },
  {
    names: ['launch_general'],
    take: () =>
      onServer({ BERTH_IMAGE_TEMPLATES: '0' }, async (server) => {
        await untilTemplate(server)
        return { launch_general: await bareLaunches(server, samples) }
      }),
  },
  { names: ['launch_pool'], take: () => onServer({ BERTH_POOL: 'yes' }, async (server) => ({ launch_pool: await poolLaunches(server, samples) })) },
  {
    names: ['exec_true', 'exec_out', 'exec_in'],
    take: () =>
      onServer({}, async (server) => {
        await untilTemplate(server)
        return await execFigures(server, options.quick ? 10 : 50, options.quick ? 2 : 8)
      }),
  },
  {
    names: ['standby_512', 'standby_4096', 'restore_files'],
    take: () =>
      onServer({ BERTH_NAP_MEMORY: '0' }, async (server) => {
        await untilTemplate(server)
        return await standbys(server, samples)
      }),
  },
  {
    names: ['restore_exec'],
    take: () =>
      onServer({}, async (server) => {
        await untilTemplate(server)
        return { restore_exec: await naps(server, samples) }
      }),
  },
  {
    names: ['fork', 'fork_still'],
    take: () =>
      onServer({}, async (server) => {
        await untilTemplate(server)
        return await forks(server, Math.min(samples, 10))
      }),
  },
  {
    names: ['burst_50'],
    take: () =>
      onServer({}, async (server) => {
        await firstOf(server, 128)
        await untilImageTemplate(server, 128)
        return { burst_50: await burst(server) }
      }),
  },
  {
    names: ['density_100', 'idle_100'],
    take: () =>
      onServer({}, async (server) => {
        await firstOf(server, 256)
        return await crowd(server, options.quick ? 10 : 100)
      }),
  },
  { names: ['server_start_1000'], take: async () => ({ server_start_1000: await serverStart(options.quick ? 3 : 5) }) },
  { names: ['api'], take: () => apiFigures(samples) },
  { names: ['web'], take: () => webFigures(samples) },
]

const machine = readMachine(process.env['BERTH_ACCEL'] ?? 'auto')
console.log(Object.entries(machine).map(([name, value]) => `${name}: ${value}`).join('\n'))
const wanted = groups.filter(({ names }) => options.only === undefined || names.includes(options.only))
if (wanted.length === 0) {
  console.error(`There is no figure ${options.only}; there are ${groups.flatMap(({ names }) => names).join(', ')}.`)
  process.exit(2)
}
for (const { names, take } of wanted) {
  try {
    for (const [name, figure] of Object.entries(await take())) {
      figures[name] = figure
      console.log(`${name.padEnd(18)} p50 ${figure.p50} ${figure.unit}, p95 ${figure.p95}, min ${figure.min}, n ${figure.n}`)
    }
  } catch (error) {
    note(`${names.join(', ')}: failed (${error instanceof Error ? error.message.split('\n')[0] : String(error)}).`)
  }
}
if (options.json !== undefined) await writeFile(options.json, figureJson(machine, figures))
if (options.results) {
  await writeFile(join(import.meta.dirname, 'RESULTS.md'), resultsPage(machine, figures, notes))
  await writeReadme()
}
