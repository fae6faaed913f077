/** What the launch form asks for, and the native request that it becomes. Pure. */
import { mountRequest } from '../../api/mounts.ts'
import type { Mount } from '../../api/mounts.ts'
import type { Catalogue } from '../../api/types.ts'
import { checkRequest } from './health.ts'
import type { CheckDraft } from './health.ts'
import { splitWords } from './shell-text.ts'
import { autoStandbyOf, idleAfterOf, NO_SLEEP } from './sleep.ts'
import type { Sleep } from './sleep.ts'

export interface Wish extends Sleep {
  readonly name: string
  readonly image: string
  /** Words as a shell would split them; empty keeps the image's own. */
  readonly command: string
  readonly vcpus: number
  readonly memoryBytes: number
  /** null is the server's default. */
  readonly diskBytes: number | null
  /** `NAME=value`, one a line. */
  readonly env: string
  readonly ports: readonly { readonly hostPort: number; readonly guestPort: number; readonly protocol: 'tcp' | 'udp' }[]
  readonly volumes: readonly Mount[]
  /** Shared file systems, by name. */
  readonly fileSystems: readonly { readonly fileSystem: string; readonly path: string }[]
  /** Names of rulesets; null is no firewall at all. */
  readonly firewalls: readonly string[] | null
  /** Names of secrets that it has as variables. */
  readonly secrets: readonly string[]
  readonly sshKeys: readonly string[]
  readonly userData: string
  readonly restart: 'never' | 'always' | 'on-failure'
  readonly healthChecks: readonly CheckDraft[]
}

export const FIRST_WISH: Wish = {
  name: '',
  image: 'localhost/busybox',
  command: '',
  vcpus: 1,
  memoryBytes: 512 * 1024 ** 2,
  diskBytes: null,
  env: '',
  ports: [],
  volumes: [],
  fileSystems: [],
  firewalls: null,
  secrets: [],
  sshKeys: [],
  userData: '',
  restart: 'never',
  healthChecks: [],
  ...NO_SLEEP,
}

export type InstanceType = Catalogue['types'][number]

/** The body of POST /instances; what keeps its default is left out. */
export function requestOf(wish: Wish): Record<string, unknown> {
  const env = envOf(wish.env)
  const command = splitWords(wish.command)
  return {
    ...(wish.name === '' ? {} : { name: wish.name }),
    image: wish.image,
    pull: 'missing',
    vcpus: wish.vcpus,
    memoryBytes: wish.memoryBytes,
    ...(wish.diskBytes === null ? {} : { overlayBytes: wish.diskBytes }),
    ...(command.length === 0 ? {} : { cmd: command }),
    ...(Object.keys(env).length === 0 ? {} : { env }),
    ...(wish.ports.length === 0 ? {} : { network: { ports: wish.ports } }),
    ...(wish.volumes.length === 0 ? {} : { volumes: wish.volumes.map(mountRequest) }),
    ...(wish.fileSystems.length === 0 ? {} : { fileSystems: wish.fileSystems }),
    ...(wish.firewalls === null ? {} : { firewalls: wish.firewalls }),
    ...(wish.restart === 'never' ? {} : { restart: { policy: wish.restart } }),
    ...(wish.healthChecks.length === 0 ? {} : { healthChecks: wish.healthChecks.map(checkRequest) }),
    ...(wish.idleMinutes === null ? {} : { idleAfterMs: idleAfterOf(wish) }),
    ...(wish.quietMinutes === null ? {} : { autoStandby: autoStandbyOf(wish) }),
    ...(wish.secrets.length === 0 ? {} : { secrets: wish.secrets }),
    ...(wish.sshKeys.length === 0 ? {} : { sshKeys: wish.sshKeys }),
    ...(wish.userData.trim() === '' ? {} : { userData: wish.userData }),
  }
}

export function envOf(text: string): Readonly<Record<string, string>> {
  const lines = text.split('\n').filter(line => line.includes('=') && !line.startsWith('#'))
  return Object.fromEntries(lines.map(line => [line.slice(0, line.indexOf('=')).trim(), line.slice(line.indexOf('=') + 1)]))
}

/** The type of the catalogue that a dialect offers and that has at least as much; the cheapest of them. */
export function typeFor(catalogue: Catalogue, dialect: 'koyeb' | 'lambda' | 'mithril', { vcpus, memoryBytes }: Pick<Wish, 'vcpus' | 'memoryBytes'>): InstanceType | null {
  const fitting = catalogue.types.filter(type => type.names[dialect] !== undefined && type.gpu === null && type.vcpus >= vcpus && type.memoryBytes >= memoryBytes)
  return fitting.toSorted((a, b) => a.priceMicrosPerHour - b.priceMicrosPerHour)[0] ?? null
}
