/**
 * The same launch in every tongue that Berth speaks, ready to copy: the command, and each dialect's call. What a
 * dialect has no word for is said beside it. Pure.
 *
 * They read the key from BERTH_KEY, so that none is ever written into a command line.
 */
import { OVERLAY_BYTES } from '../../api/mounts.ts'
import type { Catalogue } from '../../api/types.ts'
import { checkFlag, FIRST_CHECK } from './health.ts'
import { hereDocument, joinLines, quoteJson, quoteWord, splitWords } from './shell-text.ts'
import { envOf, requestOf, typeFor } from './wish.ts'
import type { Wish } from './wish.ts'

export interface Equivalent {
  readonly id: 'berth' | 'native' | 'hypeman' | 'koyeb' | 'lambda' | 'mithril'
  readonly name: string
  readonly text: string
  /** What this way can't say of the wish. */
  readonly losses: readonly string[]
}

export interface Place {
  /** `http://127.0.0.1:8080` */
  readonly origin: string
  readonly catalogue: Catalogue
}

const MIB = 1024 ** 2
const BEARER = '-H "Authorization: Bearer $BERTH_KEY"'
const JSON_TYPE = "-H 'Content-Type: application/json'"
const VOLUME_FLAGS = { rw: '', ro: ':ro', overlay: `:overlay=${megabytes(OVERLAY_BYTES)}` } as const
const HYPEMAN_MODES = { rw: {}, ro: { readonly: true }, overlay: { readonly: true, overlay: true, overlay_size: megabytes(OVERLAY_BYTES) } } as const
/** The first such value of an answer, with what every machine has. */
const firstValue = (field: string) => `grep -o '"${field}":"[^"]*"' | head -n 1 | cut -d '"' -f 4`
/** A line that keeps one value of an answer. */
const variableOf = (name: string, call: readonly string[], field: string) => `${name}=$(${joinLines(['curl -sS', BEARER, ...call])} | ${firstValue(field)})`

export function equivalentsOf(wish: Wish, place: Place): readonly Equivalent[] {
  return [berth(wish), native(wish, place), hypeman(wish, place), koyeb(wish, place), lambda(wish, place), mithril(wish, place)]
}

function losses(...cases: readonly (readonly [applies: boolean, sentence: string])[]): readonly string[] {
  return cases.filter(([applies]) => applies).map(([, sentence]) => sentence)
}

/** What stands in none of the dialects' calls. */
function unsaid({ secrets, idleMinutes, quietMinutes, healthChecks }: Wish): readonly (readonly [applies: boolean, sentence: string])[] {
  return [
    [secrets.length > 0 || idleMinutes !== null || quietMinutes !== null, 'Neither secrets nor standby without use are given here.'],
    [healthChecks.length > 0, 'Health checks are not given here.'],
  ]
}

function berth(wish: Wish): Equivalent {
  const command = splitWords(wish.command)
  const userData = wish.userData.trim() === '' ? '' : wish.userData
  const parts = [
    'berth run -d',
    ...(wish.name === '' ? [] : [`--name ${quoteWord(wish.name)}`]),
    `--vcpus ${wish.vcpus} -m ${megabytes(wish.memoryBytes)}`,
    ...(wish.diskBytes === null ? [] : [`--disk ${megabytes(wish.diskBytes)}`]),
    ...Object.entries(envOf(wish.env)).map(([name, value]) => `-e ${quoteWord(`${name}=${value}`)}`),
    ...wish.ports.map(({ hostPort, guestPort, protocol }) => `-p ${hostPort}:${guestPort}${protocol === 'udp' ? '/udp' : ''}`),
    ...wish.volumes.map(({ volume, path, mode }) => `-v ${quoteWord(`${volume}:${path}${VOLUME_FLAGS[mode]}`)}`),
    ...wish.fileSystems.map(({ fileSystem, path }) => `--fs ${quoteWord(`${fileSystem}:${path}`)}`),
    ...(wish.firewalls ?? []).map(name => `--firewall ${quoteWord(name)}`),
    ...wish.secrets.map(name => `--secret ${quoteWord(name)}`),
    ...wish.sshKeys.map(name => `--ssh-key ${quoteWord(name)}`),
    ...(userData === '' ? [] : ['--user-data /dev/stdin']),
    ...(wish.restart === 'never' ? [] : [`--restart ${wish.restart}`]),
    ...wish.healthChecks.map(check => `--health-check ${quoteWord(checkFlag(check))}`),
    ...healthFlags(wish),
    ...(wish.idleMinutes === null ? [] : [`--idle-after ${spanFlag(wish.idleMinutes * 60)}`]),
    ...(wish.quietMinutes === null ? [] : [`--auto-standby ${spanFlag(wish.quietMinutes * 60)}`, ...wish.ignored.map(word => `--auto-standby-ignore ${quoteWord(word)}`)]),
    quoteWord(wish.image) + (command.length === 0 ? '' : ` -- ${command.map(quoteWord).join(' ')}`),
  ]
  return {
    id: 'berth',
    name: 'berth',
    text: userData === '' ? joinLines(parts) : `${joinLines(parts)} ${hereDocument(userData)}`,
    losses: losses(
      [wish.firewalls?.length === 0, 'A firewall of the global rules alone is given afterwards: berth firewall attach.'],
      [HEALTH_FLAGS.some(({ name }) => wish.healthChecks.some(check => check[name] !== wish.healthChecks[0]?.[name])), 'All health checks have the times of the first.'],
    ),
  }
}

const HEALTH_FLAGS = [
  { name: 'intervalSeconds', flag: '--health-interval', text: spanFlag },
  { name: 'timeoutSeconds', flag: '--health-timeout', text: spanFlag },
  { name: 'graceSeconds', flag: '--health-start-period', text: spanFlag },
  { name: 'failures', flag: '--health-retries', text: String },
] as const

/** What is not the default anyway; one for all checks. */
function healthFlags({ healthChecks: [first] }: Wish): readonly string[] {
  return first === undefined ? [] : HEALTH_FLAGS.filter(({ name }) => first[name] !== FIRST_CHECK[name]).map(({ name, flag, text }) => `${flag} ${text(first[name])}`)
}

function spanFlag(seconds: number): string {
  const ms = Math.round(seconds * 1000)
  if (ms % 1000 !== 0) return `${ms}ms`
  return ms > 0 && ms % 60_000 === 0 ? `${ms / 60_000}m` : `${ms / 1000}s`
}

function native(wish: Wish, { origin }: Place): Equivalent {
  return { id: 'native', name: 'curl', text: joinLines(['curl -sS', BEARER, JSON_TYPE, `${origin}/berth/v1/instances`, `-d ${quoteJson(requestOf(wish))}`]), losses: [] }
}

function hypeman(wish: Wish, { origin }: Place): Equivalent {
  const command = splitWords(wish.command)
  const env = envOf(wish.env)
  const names = wish.volumes.map((_, index) => `VOLUME_${index + 1}`)
  const body = {
    name: nameOf(wish),
    image: wish.image,
    vcpus: wish.vcpus,
    size: megabytes(wish.memoryBytes),
    ...(wish.diskBytes === null ? {} : { overlay_size: megabytes(wish.diskBytes) }),
    ...(command.length === 0 ? {} : { cmd: command }),
    ...(Object.keys(env).length === 0 ? {} : { env }),
    ...(wish.ports.length === 0 ? {} : { ports: wish.ports.map(({ hostPort, guestPort, protocol }) => ({ host_port: hostPort, guest_port: guestPort, protocol })) }),
    ...(wish.volumes.length === 0 ? {} : { volumes: wish.volumes.map(({ path, mode }, index) => ({ volume_id: names[index], mount_path: path, ...HYPEMAN_MODES[mode] })) }),
    ...(wish.restart === 'never' ? {} : { restart_policy: { policy: wish.restart.replace('-', '_') } }),
  }
  return {
    id: 'hypeman',
    name: 'Hypeman',
    text: [
      ...names.map((variable, index) => variableOf(variable, [`${origin}/volumes/${quoteWord(encodeURIComponent(wish.volumes[index]?.volume ?? ''))}`], 'id')),
      joinLines(['curl -sS', BEARER, JSON_TYPE, `${origin}/instances`, `-d ${withVariables(quoteJson(body), names)}`]),
    ].join('\n'),
    losses: losses(
      [wish.sshKeys.length > 0, 'It knows no SSH keys.'],
      [wish.userData.trim() !== '', 'It knows no user data.'],
      [wish.fileSystems.length > 0 || wish.firewalls !== null, 'It knows no shared file systems and no firewalls.'],
      ...unsaid(wish),
    ),
  }
}

function koyeb(wish: Wish, { origin, catalogue }: Place): Equivalent {
  const [program, ...args] = splitWords(wish.command)
  const type = typeFor(catalogue, 'koyeb', wish)
  const name = nameOf(wish)
  const ports = wish.ports.filter(({ protocol }) => protocol === 'tcp')
  const [port] = ports
  const definition = {
    name,
    type: port === undefined ? 'WORKER' : 'WEB',
    docker: { image: wish.image, ...(program === undefined ? {} : { command: program, args }) },
    regions: [regionOf(catalogue, 'koyeb')],
    instance_types: [{ type: type?.names['koyeb'] ?? 'micro' }],
    scalings: [{ min: 1, max: 1 }],
    ...(port === undefined ? {} : { ports: ports.map(({ guestPort }) => ({ port: guestPort, protocol: 'tcp' })) }),
    ...(wish.env.trim() === '' ? {} : { env: Object.entries(envOf(wish.env)).map(([key, value]) => ({ key, value })) }),
  }
  return {
    id: 'koyeb',
    name: 'Koyeb',
    text: [
      variableOf('APP', [`${origin}/v1/apps`, `-d ${quoteJson({ name })}`], 'id'),
      joinLines(['curl -sS', BEARER, JSON_TYPE, `${origin}/v1/services`, `-d ${withVariables(quoteJson({ app_id: 'APP', definition }), ['APP'])}`]),
    ].join('\n'),
    losses: losses(
      [true, `Sizes are types here: ${type === null ? 'none is large enough' : describe(type)}.`],
      [ports.length > 0, 'The ports of the host are chosen by the service.'],
      [ports.length < wish.ports.length, 'It publishes no UDP.'],
      [wish.volumes.length > 0, 'Volumes are attached afterwards.'],
      [wish.sshKeys.length > 0 || wish.userData.trim() !== '', 'It knows no SSH keys and no user data.'],
      [wish.fileSystems.length > 0 || wish.firewalls !== null, 'It knows no shared file systems and no firewalls.'],
      ...unsaid(wish),
    ),
  }
}

function lambda(wish: Wish, { origin, catalogue }: Place): Equivalent {
  const type = typeFor(catalogue, 'lambda', wish)
  const body = {
    region_name: regionOf(catalogue, 'lambda'),
    instance_type_name: type?.names['lambda'] ?? 'cpu_1x_general',
    ssh_key_names: [wish.sshKeys[0] ?? 'YOUR-SSH-KEY'],
    ...(wish.name === '' ? {} : { name: wish.name }),
    image: { family: familyOf(wish.image) },
    ...(wish.fileSystems.length === 0 ? {} : { file_system_names: wish.fileSystems.map(({ fileSystem }) => fileSystem) }),
    ...(wish.userData.trim() === '' ? {} : { user_data: wish.userData }),
  }
  return {
    id: 'lambda',
    name: 'Lambda',
    text: joinLines(['curl -sS -u "$BERTH_KEY:"', JSON_TYPE, `${origin}/api/v1/instance-operations/launch`, `-d ${quoteJson(body)}`]),
    losses: losses(
      [true, `Sizes are types here: ${type === null ? 'none is large enough' : describe(type)}.`],
      [wish.sshKeys.length !== 1, 'It takes exactly one SSH key.'],
      [wish.command !== '' || wish.env.trim() !== '', 'It runs the image as a machine: no command, no environment.'],
      [wish.ports.length > 0 || wish.volumes.length > 0, 'It knows no ports of the host, and volumes are attached afterwards.'],
      [wish.fileSystems.length > 0, 'File systems are mounted at /lambda/nfs/NAME.'],
      [wish.firewalls !== null && wish.firewalls.length > 0, 'Rulesets are named by their ids there; without any it has the global rules.'],
      ...unsaid(wish),
    ),
  }
}

function mithril(wish: Wish, { origin, catalogue }: Place): Equivalent {
  const type = typeFor(catalogue, 'mithril', wish)
  const cents = Math.max(1, Math.ceil((type?.priceMicrosPerHour ?? 10_000) / 10_000))
  const spec = { volumes: [], ssh_keys: ['SSH_KEY'], ...(wish.userData.trim() === '' ? {} : { startup_script: wish.userData }) }
  const bid = {
    project: 'PROJECT',
    region: regionOf(catalogue, 'mithril'),
    instance_type: type?.names['mithril'] ?? 'cpu.1x',
    limit_price: `$${(cents / 100).toFixed(2)}`,
    instance_quantity: 1,
    name: nameOf(wish),
    launch_specification: spec,
  }
  const body = withVariables(quoteJson(bid), ['PROJECT', 'SSH_KEY'])
  const ask = (path: string, rest: string) => joinLines(['curl -sS', BEARER, `${origin}/v2${path} | ${rest}`])
  const named = (name: string) => `grep -o '{[^{}]*}' | grep -F ${quoteWord(`"name":${JSON.stringify(name)}`)} | ${firstValue('fid')}`
  return {
    id: 'mithril',
    name: 'Mithril',
    text: [
      `PROJECT=$(${ask('/projects', firstValue('fid'))})`,
      `SSH_KEY=$(${joinLines(['curl -sS -G', BEARER, '-d "project=$PROJECT"', `${origin}/v2/ssh-keys | ${wish.sshKeys[0] === undefined ? firstValue('fid') : named(wish.sshKeys[0])}`])})`,
      joinLines(['curl -sS', BEARER, JSON_TYPE, `${origin}/v2/spot/bids`, `-d ${body}`]),
    ].join('\n'),
    losses: losses(
      [true, `A bid for the market, by type: ${type === null ? 'none is large enough' : describe(type)}.`],
      [wish.sshKeys.length === 0, 'It takes an SSH key: the first one of the project.'],
      [wish.sshKeys.length > 1, 'Only the first SSH key is given here.'],
      [true, 'It runs a machine image of the project: no command, no environment, no ports.'],
      [wish.fileSystems.length > 0 || wish.firewalls !== null, 'File systems are named by their ids there, and it knows no firewalls.'],
      ...unsaid(wish),
    ),
  }
}

/** The body, with the shell's variables in place of values of their names: the first of each. */
function withVariables(body: string, names: readonly string[]): string {
  return names.reduce((text, name) => text.replace(`"${name}"`, `"'"$${name}"'"`), body)
}

function describe(type: { readonly id: string; readonly vcpus: number; readonly memoryBytes: number }): string {
  return `${type.id}, ${type.vcpus} vCPU and ${megabytes(type.memoryBytes).replace('M', ' MB')}`
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / MIB)}M`
}

function nameOf({ name, image }: Wish): string {
  return name === '' ? familyOf(image) : name
}

/** A real region if there is one. */
function regionOf(catalogue: Catalogue, dialect: 'koyeb' | 'lambda' | 'mithril'): string {
  const named = catalogue.regions.filter(({ names }) => names[dialect] !== undefined)
  return (named.find(({ simulated }) => !simulated) ?? named[0])?.names[dialect] ?? ''
}

/** As the machine dialects call an image: `ubuntu:24.04` is `ubuntu-24-04`. */
export function familyOf(image: string): string {
  const last = (image.split('@')[0] ?? '').split('/').at(-1) ?? ''
  return last.replace(/:latest$/, '').toLowerCase().replaceAll(/[^a-z0-9]+/g, '-').replaceAll(/^-+|-+$/g, '')
}
