/** `berth update`: changes what may change on an instance that is there. */
import type { Command } from 'commander'
import type { InstanceBody } from '../../dialects/native/schema/instances.ts'
import { part } from '../client.ts'
import { commonOptions, withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { parseCount, parsePort, parseSize, usage } from '../flags.ts'
import { healthOptions, parseHealth } from '../health-flags.ts'
import type { HealthOptions } from '../health-flags.ts'
import { idleOptions, parseIdle } from '../idle-flags.ts'
import type { IdleOptions } from '../idle-flags.ts'
import { print, printJson } from '../output.ts'
import { collect } from './ps.ts'

interface UpdateOptions extends HealthOptions, IdleOptions {
  readonly name?: string
  readonly type?: string
  readonly cpus?: string
  readonly memory?: string
  readonly publish?: readonly string[]
  readonly unpublish?: readonly string[]
  /** False where there shall be none. */
  readonly healthChecks: boolean
}

type Ports = InstanceBody['network']['ports']

export function register(program: Command, context: Context): void {
  idleOptions(healthOptions(withServer(program.command('update <instance>').description('change the name, size, published ports, health checks or idle time of an instance'))))
    .option('--name <name>', 'its new name')
    .option('--type <type>', 'CPUs and memory of a type (see berth types); only while it is stopped')
    .option('--cpus <n>', 'virtual CPUs; only while it is stopped')
    .option('-m, --memory <size>', 'like 512M; only while it is stopped')
    .option('-p, --publish <host:guest[/udp]>', 'one more port of the host that leads into it; may be given several times', collect)
    .option('--unpublish <host[/udp]>', 'a port of the host that leads into it no more; may be given several times', collect)
    .option('--no-health-checks', 'ask nothing of it any more')
    .action(async (word: string, options: UpdateOptions, command: Command) => {
      const { name, type, cpus, memory, publish, unpublish } = options
      const changesPorts = publish !== undefined || unpublish !== undefined
      const asked = parseHealth(options)
      if (asked !== undefined && !options.healthChecks) throw usage('--health-check and --no-health-checks exclude each other.')
      const healthChecks = options.healthChecks ? asked : []
      const idle = parseIdle(options)
      if (!changesPorts && [name, type, cpus, memory, healthChecks, ...Object.values(idle)].every(option => option === undefined)) {
        throw usage('Say what shall change: --name, --type, --cpus, --memory, --publish, --unpublish, --health-check, --no-health-checks, --idle-after or --auto-standby.')
      }
      const client = context.connect(command)
      const path = `/instances/${part(word)}`
      const ports = changesPorts ? changed((await client.call<InstanceBody>('GET', path)).network.ports, publish ?? [], unpublish ?? []) : null
      const json = {
        ...(name === undefined ? {} : { name }),
        ...(type === undefined ? {} : { type }),
        ...(cpus === undefined ? {} : { vcpus: parseCount('--cpus', cpus) }),
        ...(memory === undefined ? {} : { memoryBytes: parseSize('--memory', memory) }),
        ...(ports === null ? {} : { ports }),
        ...(healthChecks === undefined ? {} : { healthChecks }),
        ...idle,
      }
      const instance = await client.call<InstanceBody>('PATCH', path, { json })
      if (commonOptions(command).json === true) return printJson(instance)
      await print(`${instance.name}\n`)
    })
}

/** A host port that is published again leads to its new place. */
function changed(now: Ports, publish: readonly string[], unpublish: readonly string[]): Ports {
  const gone = unpublish.map(parseHostPort)
  const added = publish.map(parsePort)
  const isOf = (one: { readonly hostPort: number; readonly protocol: string }) => (other: { readonly hostPort: number; readonly protocol: string }) =>
    one.hostPort === other.hostPort && one.protocol === other.protocol
  const missing = gone.find(port => !now.some(isOf(port)))
  if (missing !== undefined) throw usage(`The instance does not publish ${missing.hostPort}/${missing.protocol}.`)
  return [...now.filter(port => !gone.some(isOf(port)) && !added.some(isOf(port))), ...added]
}

function parseHostPort(text: string): { readonly hostPort: number; readonly protocol: 'tcp' | 'udp' } {
  const [, port, protocol] = /^(\d{1,5})(?:\/(tcp|udp))?$/.exec(text) ?? []
  if (port === undefined) throw usage(`--unpublish "${text}" is not a port of the host: write it like 8080 or 5353/udp.`)
  return { hostPort: Number(port), protocol: protocol === 'udp' ? 'udp' : 'tcp' }
}
