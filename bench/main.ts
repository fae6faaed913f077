/**
 * `npm run bench`: what Berth takes, beside what a user would pick instead, in one run on one machine.
 *
 *   --quick          fewer samples, less data        --only NAME     the figures of that name alone
 *   --json FILE      { machine, figures }            --results       writes bench/RESULTS.md
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { apiFigures } from './api.ts'
import { burst, density, execFigures, firstOf, launch, openBench, standby, untilTemplates } from './berth.ts'
import type { Figure } from './figure.ts'
import { readMachine } from './machine.ts'
import { podmanFigures } from './podman.ts'
import { resultsPage } from './results.ts'

const { values: options } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, only: { type: 'string' }, json: { type: 'string' }, results: { type: 'boolean', default: false } },
})
const samples = options.quick ? 5 : 20
const figures: Record<string, Figure> = {}
const skipped: string[] = []
const wants = (...names: readonly string[]): boolean => options.only === undefined || names.some((name) => name === options.only)
const keep = (name: string, figure: Figure): void => {
  figures[name] = figure
  console.log(`${name.padEnd(18)} p50 ${figure.p50} ${figure.unit}, p95 ${figure.p95}, min ${figure.min}, n ${figure.n}`)
}
const skip = (text: string): void => {
  skipped.push(text)
  console.log(text)
}

/** Takes figures that are wanted; one that can't be taken is told, and the others go on. */
async function attempt(names: readonly string[], take: () => Promise<Readonly<Record<string, Figure>>>): Promise<void> {
  if (!wants(...names)) return
  try {
    for (const [name, figure] of Object.entries(await take())) keep(name, figure)
  } catch (error) {
    skip(`${names.join(', ')}: failed (${error instanceof Error ? error.message : String(error)})`)
  }
}

const machine = readMachine(process.env['BERTH_ACCEL'] ?? 'auto')
console.log(Object.entries(machine).map(([name, value]) => `${name}: ${value}`).join('\n'))

await attempt(['api'], () => apiFigures(samples))
if (options.only === 'api') {
  await tell()
  process.exit()
}
if (wants('podman_run', 'podman_exec')) {
  const podman = await podmanFigures(samples, skip)
  if (podman !== null) {
    keep('podman_run', podman.run)
    keep('podman_exec', podman.exec)
  }
}
if (wants('launch_cold')) {
  const server = await openBench({ BERTH_TEMPLATES: 'no' })
  try {
    keep('launch_cold', await launch(server, Math.min(samples, 5)))
  } finally {
    await server.stop()
  }
}
const server = await openBench()
try {
  await untilTemplates(server, 1)
  await attempt(['launch_template'], async () => ({ launch_template: await launch(server, samples) }))
  await attempt(['exec_true', 'exec_out', 'exec_in'], () => execFigures(server, samples, options.quick))
  await attempt(['standby_512', 'restore_exec'], async () => {
    const { standby: down, restore } = await standby(server, '512MB', samples)
    return { standby_512: down, restore_exec: restore }
  })
  await attempt(['standby_4096'], async () => {
    // The first of a size boots; what is measured is a clone.
    await firstOf(server, '4096MB')
    return { standby_4096: (await standby(server, '4096MB', samples)).standby }
  })
  await attempt(['burst_50'], async () => {
    await firstOf(server, '128MB')
    return { burst_50: await burst(server) }
  })
  await attempt(['density_100'], async () => {
    await firstOf(server, '256MB')
    return { density_100: await density(server, options.quick ? 10 : 100) }
  })
} finally {
  await server.stop()
}

await tell()

/** Writes what was asked for. */
async function tell(): Promise<void> {
  if (options.json !== undefined) {
    const plain = Object.fromEntries(Object.entries(figures).map(([name, { unit, p50, p95, n }]) => [name, { unit, p50, p95, n }]))
    await writeFile(options.json, `${JSON.stringify({ machine, figures: plain }, null, 2)}\n`)
  }
  if (options.results) await writeFile(join(import.meta.dirname, 'RESULTS.md'), resultsPage(machine, figures, skipped))
}
