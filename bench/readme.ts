/**
 * The figures that README.md shows, taken from bench/RESULTS.md so that the two never differ: `node bench/readme.ts`
 * writes them, and so does every run of the benchmark that writes the results.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

const BEGIN = '<!-- Figures of bench/RESULTS.md, written by bench/readme.ts. -->\n'
const END = '<!-- End of the figures. -->\n'

const ROWS: readonly (readonly [what: string, berth: string, podman: string])[] = [
  ['from create to the first output of a command', 'launch_pool', 'podman_run'],
  ['the same where none of the [VMs that wait](docs/templates.md#the-pool) is left', 'launch_template', ''],
  ['a command in what runs already', 'exec_true', 'podman_exec'],
  ['woken from standby to the first output of a command', 'restore_exec', ''],
  ['put to sleep, with 4 GB of memory', 'standby_4096', ''],
  ['the server is back, with 1,000 instances', 'server_start_1000', ''],
]

/** The README with the figures of this page of results. */
export function withFigures(readme: string, results: string): string {
  const begin = readme.indexOf(BEGIN)
  const end = readme.indexOf(END)
  if (begin < 0 || end < begin) throw new Error('README.md has no place for figures')
  return `${readme.slice(0, begin + BEGIN.length)}${table(results)}${readme.slice(end)}`
}

function table(results: string): string {
  const rows = ROWS.map(([what, berth, podman]) => `| ${what} | ${median(results, berth)} | ${podman === '' ? '' : median(results, podman)} |\n`)
  return `| Median | Berth, a VM | podman, a container |\n|---|---|---|\n${rows.join('')}`
}

/** Such a row of the results is: name, what it is, target, median, … */
function median(results: string, name: string): string {
  const cells = results.split('\n').find(line => line.startsWith(`| \`${name}\` |`))?.split(' | ')
  const [value = '', unit = ''] = cells?.[3]?.split(' ') ?? []
  if (!Number.isFinite(Number.parseFloat(value))) throw new Error(`bench/RESULTS.md has no median of ${name}`)
  return `${Math.round(Number(value))} ${unit}`
}

/** Writes them into README.md. */
export async function writeReadme(): Promise<void> {
  const [readme, results] = [join(import.meta.dirname, '../README.md'), join(import.meta.dirname, 'RESULTS.md')]
  await writeFile(readme, withFigures(await readFile(readme, 'utf8'), await readFile(results, 'utf8')))
}

if (import.meta.main) await writeReadme()
