/** The page bench/RESULTS.md, from figures. Pure. */
import type { Figure } from './figure.ts'
import type { MachineFacts } from './machine.ts'

/** What each figure is, and what is aimed at without KVM. */
const ROWS: readonly (readonly [name: string, what: string, target: string])[] = [
  ['launch_template', 'create → first output of a command, network on, from a template', '250 ms'],
  ['launch_pool', 'the same from the warm pool', '80 ms'],
  ['launch_cold', 'the same with a boot', ''],
  ['podman_run', '`podman run` of the same busybox, default network', ''],
  ['podman_exec', '`podman exec true`', ''],
  ['standby_512', 'standby of a 512 MB guest', '60 ms'],
  ['standby_4096', 'standby of a 4 GB guest', '1.3 × standby_512'],
  ['restore_exec', 'restore → first output of a command', '120 ms'],
  ['exec_true', '`true` on a running VM, API to exit', '10 ms'],
  ['exec_out', 'bytes out of a command, hash checked', '120 MB/s'],
  ['exec_in', 'bytes into a command, hash checked', '80 MB/s'],
  ['burst_50', '50 creates at once, all running', '6000 ms'],
  ['density_100', 'private memory of an idle 256 MB VM', '30 MB'],
  ['server_start_1000', 'start with 1,000 stored instances → serving', '500 ms'],
  ['api_get', 'GET of one instance on the Koyeb API, answers a second', ''],
  ['api_get_bare', 'a bare Fastify route that returns the same bytes', ''],
  ['api_get_part', 'the one as a part of the other', '60 %'],
  ['api_list', 'a list of 100 instances on the Koyeb API, answers a second', ''],
  ['api_list_bare', 'a bare Fastify route that returns the same bytes', ''],
  ['api_list_part', 'the one as a part of the other', ''],
  ['api_list_growth', 'time of that list with 100,000 instances, of its time with 1,000', '120 %'],
  ['api_events_growth', 'time of the newest 100 events of 1,000,000, of 10,000', '120 %'],
  ['idle_100', 'an idle server with 100 running VMs, of one core', '1 %'],
]

export function resultsPage(machine: MachineFacts, figures: Readonly<Record<string, Figure>>, skipped: readonly string[]): string {
  const rows = ROWS.map(([name, what, target]) => {
    const figure = figures[name]
    const cells = figure === undefined ? ['not measured', '', '', ''] : [`${figure.p50} ${figure.unit}`, `${figure.p95}`, `${figure.min}`, `${figure.n}`]
    return `| \`${name}\` | ${what} | ${target} | ${cells.join(' | ')} |`
  })
  const [launch, podman] = [figures['launch_template'], figures['podman_run']]
  const [small, large] = [figures['standby_512'], figures['standby_4096']]
  return [
    '# What Berth takes',
    '',
    'Written by `npm run bench -- --results`; everything in one run, side by side.',
    '',
    '| The machine | |',
    '|---|---|',
    ...Object.entries(machine).map(([name, value]) => `| ${name} | ${value} |`),
    '',
    ...(machine.load > 1 ? [`The machine was busy with other work (load ${machine.load} on ${machine.cores} cores): every figure is larger than on an idle one, podman's too.`, ''] : []),
    '| Figure | Work | Target | p50 | p95 | min | n |',
    '|---|---|---|---|---|---|---|',
    ...rows,
    '',
    ...(launch !== undefined && podman !== undefined ? [`A launch from a template takes ${(launch.p50 / podman.p50).toFixed(2)} of podman's time.`] : []),
    ...(small !== undefined && large !== undefined ? [`Standby of 4 GB takes ${(large.p50 / small.p50).toFixed(2)} of the time of 512 MB.`] : []),
    ...skipped,
    '',
  ].join('\n')
}
