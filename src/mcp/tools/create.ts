/** create-instance: one call from an image's name to a computer that runs. */
import { z } from 'zod'
import type { CreateInstance } from '../../engine/api.ts'
import type { Catalogue, InstanceType, Region } from '../../instance/catalogue.ts'
import { placeIn } from '../../instance/catalogue.ts'
import { BerthError } from '../../instance/errors.ts'
import { quoteGo } from '../../instance/go-text.ts'
import type { FirewallRulesetId, Image, ImageConfig, Place, PortMapping, VolumeId } from '../../instance/model.ts'
import { checkedPublicKey } from '../../instance/ssh-key.ts'
import { acceptHealthChecks, HealthChecks } from '../health-checks.ts'
import { publishing } from '../ports.ts'
import { presentBrief } from '../present.ts'
import { findFileSystem, findFirewall, withRead } from '../resolve.ts'
import { acceptAutoStandby, acceptRestart, Argv, AutoStandby, Brief, Env, GuestPath, InstanceName, Ports, Restart, SecretEnv, SecretNames, Tags, Wait, WAIT_LIMIT_MS } from '../schema.ts'
import { defineTool } from '../tool.ts'
import type { ToolContext } from '../tool.ts'
import { waitFor, waitForImage } from '../waiting.ts'
import { describe } from './instances.ts'

const MIB = 2 ** 20
const GIB = 2 ** 30
/** An image of a gigabyte from a slow registry, and a boot without hardware help. */
const CREATE_WAIT_MS = 300_000
const VOLUMES_LIMIT = 16
const FILE_SYSTEMS_LIMIT = 16
const FIREWALLS_LIMIT = 10
const SSH_KEYS_LIMIT = 64
const USER_DATA_LIMIT_CHARACTERS = 1024 * 1024

const Input = z.strictObject({
  image: z.string().min(1).max(768).describe('Like localhost/busybox (always there), alpine, python:3.13-slim; pulled if it is not here'),
  name: InstanceName.optional().describe('Lower-case letters, digits, dashes; one is made up without it'),
  type: z.string().min(1).max(63).optional().describe('Size from list-instance-types; default 1 vCPU, 512 MiB, 4 GiB of disk'),
  region: z.string().min(1).max(63).optional().describe('From list-regions'),
  vcpus: z.int().min(1).max(1024).optional().describe('Instead of the type’s'),
  memory_mib: z.int().min(16).max(16_777_216).optional().describe('Instead of the type’s'),
  disk_gib: z.number().min(0.01).max(65_536).optional().describe('Instead of the type’s'),
  env: Env.optional(),
  secrets: SecretNames.optional().describe('Names from list-secrets: it has their values as variables of the same names'),
  secret_env: SecretEnv.optional(),
  command: Argv.optional().describe('What its application is (argv, no shell), instead of the image’s command'),
  entrypoint: Argv.optional().describe('Instead of the image’s entrypoint'),
  ports: Ports.optional().describe('Published on the host, like [{"guest_port":80}]; without it only the host reaches the instance'),
  volumes: z
    .array(z.strictObject({ volume: z.string().min(1).max(128).describe('Id or name'), path: GuestPath, mode: z.enum(['rw', 'ro']).default('rw') }))
    .max(VOLUMES_LIMIT)
    .optional(),
  file_systems: z
    .array(z.strictObject({ file_system: z.string().min(1).max(128).describe('Id or name'), path: GuestPath }))
    .max(FILE_SYSTEMS_LIMIT)
    .optional()
    .describe('Shared with other instances'),
  firewalls: z.array(z.string().min(1).max(128)).max(FIREWALLS_LIMIT).optional().describe('Ids or names of rulesets: only what they and the global rules let in reaches it; [] is the global rules alone'),
  ssh_keys: z.array(z.string().min(1).max(4096)).max(SSH_KEYS_LIMIT).optional().describe('Names of SSH keys of the project, or public keys (ssh-ed25519 …)'),
  user_data: z.string().min(1).max(USER_DATA_LIMIT_CHARACTERS).optional().describe('Runs once at the first start: a script (#!…) or #cloud-config'),
  tags: Tags.optional(),
  health_checks: HealthChecks.optional(),
  restart: Restart.optional(),
  sleeps_after_s: z.int().min(1).max(2_592_000).optional().describe('Sleeps when nobody has used it for so long; a command or a connection wakes it'),
  auto_standby: AutoStandby.optional().describe('Sleeps when nobody has had a connection to it for so long; a tool wakes it, a connection does not'),
  expires_in_s: z.int().min(1).max(31_536_000).optional().describe('Deleted by itself after so long'),
  wait: Wait,
  timeout_ms: z.int().min(0).max(WAIT_LIMIT_MS).default(CREATE_WAIT_MS).describe('How long to wait for the image and the instance'),
  idempotency_key: z.string().min(1).max(255).optional().describe('The same key again returns the same instance'),
})
type Input = z.output<typeof Input>

export const createInstance = defineTool({
  name: 'create-instance',
  title: 'Create an instance',
  description:
    'Makes a virtual machine from an OCI image, pulls the image first if needed, and answers when it runs: then use exec-command. ' +
    'An image whose own command is only a prompt (alpine, ubuntu, python, …) idles and waits for exec-command; give `command` to run something of your own.',
  toolset: 'lifecycle',
  scope: 'write',
  hints: { readOnly: false, destructive: false, idempotent: false, openWorld: true },
  isLong: true,
  input: Input,
  output: z.strictObject({
    instance: Brief,
    operation_id: z.string().describe('What wait-for-instance takes as id to wait for the creation'),
    idles: z.boolean().describe('Its image’s command is only a prompt, so it waits for exec-command instead'),
    timed_out: z.boolean().describe('It does not run yet: wait-for-instance goes on waiting'),
  }),
  async run(args, context) {
    const startedAt = performance.now()
    const image = await imageFor(args, context)
    const config = image?.config ?? null
    const idle = args.command === undefined && args.entrypoint === undefined && config !== null ? idleCommand(config) : null
    const request = await requestOf(args, idle, context)
    const options = args.idempotency_key === undefined ? {} : { idempotencyKey: args.idempotency_key, idempotencyBasis: args }
    const recorded = await publishing(args.ports ?? [], [], ports =>
      context.engine.instances.create(context.caller, args.ports === undefined ? request : { ...request, network: networkOf(ports) }, options),
    )
    context.note({ instance: recorded.id })
    if (!args.wait) return answer(recorded, idle !== null, false)
    const leftMs = Math.max(0, args.timeout_ms - (performance.now() - startedAt))
    const { instance, timedOut } = await waitFor(context, recorded, ['running', 'unhealthy'], leftMs)
    return answer(instance, idle !== null, timedOut)
  },
})

function answer(instance: Parameters<typeof presentBrief>[0], idles: boolean, timedOut: boolean) {
  const notes = [
    ...(idles ? ['It idles: its image’s own command is only a prompt. Use exec-command.'] : []),
    ...(timedOut ? ['It does not run yet: wait-for-instance goes on waiting.'] : []),
    ...(instance.phase === 'stopped' ? ['Its application has ended already: give a command that stays, or read get-instance-logs.'] : []),
  ]
  // An instance is made once: its id names its creation as well.
  return { data: { instance: presentBrief(instance), operation_id: instance.id, idles, timed_out: timedOut }, text: [describe(instance), ...notes].join('\n') }
}

/** The image, ready; null if nobody waits and it isn't. */
async function imageFor(args: Input, context: ToolContext): Promise<Image | null> {
  const { engine, caller } = context
  const known = await engine.images.get(caller, args.image).catch((error: unknown) => {
    if (error instanceof BerthError && error.code === 'image_not_found') return null
    throw error
  })
  if (known?.status === 'ready') return known
  if (!args.wait) return null
  const { name } = known === null || known.status === 'failed' ? await engine.images.pull(caller, { name: args.image }) : known
  return waitForImage(context, name, args.timeout_ms)
}

async function requestOf(args: Input, idle: IdleCommand | null, context: ToolContext): Promise<CreateInstance> {
  const { catalogue } = context
  const type = args.type === undefined ? null : typeOf(catalogue, args.type)
  const region = args.region === undefined ? null : regionOf(catalogue, args.region)
  const { engine, caller } = context
  const volumes = await Promise.all((args.volumes ?? []).map(async ({ volume, path, mode }) => ({ volumeId: await volumeIdOf(context, volume), path, mode, overlayBytes: null })))
  const fileSystems = await Promise.all((args.file_systems ?? []).map(async ({ file_system: word, path }) => ({ fileSystemId: (await findFileSystem(engine, caller, word)).id, path })))
  const firewallRulesets = await firewallIdsOf(context, args.firewalls)
  const sshKeys = args.ssh_keys === undefined ? [] : await publicKeysOf(context, args.ssh_keys)
  const vcpus = args.vcpus ?? type?.vcpus
  const memoryBytes = args.memory_mib === undefined ? type?.memoryBytes : args.memory_mib * MIB
  const overlayBytes = args.disk_gib === undefined ? type?.diskBytes : Math.round(args.disk_gib * GIB)
  const entrypoint = args.entrypoint ?? idle?.entrypoint
  const cmd = args.command ?? idle?.cmd
  const place = placeOf(catalogue, region, type)
  return {
    image: args.image,
    pull: 'missing',
    ...(args.name === undefined ? {} : { name: args.name }),
    ...(vcpus === undefined ? {} : { vcpus }),
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
    ...(overlayBytes === undefined ? {} : { overlayBytes }),
    ...(args.env === undefined ? {} : { env: args.env }),
    ...(args.secrets === undefined ? {} : { secrets: args.secrets }),
    ...(args.secret_env === undefined ? {} : { secretEnv: args.secret_env }),
    ...(args.health_checks === undefined ? {} : { healthChecks: acceptHealthChecks(args.health_checks) }),
    ...(args.restart === undefined ? {} : { restart: acceptRestart(args.restart) }),
    ...(args.auto_standby === undefined ? {} : { autoStandby: acceptAutoStandby(args.auto_standby) }),
    ...(entrypoint === undefined ? {} : { entrypoint }),
    ...(cmd === undefined ? {} : { cmd }),
    ...(volumes.length === 0 ? {} : { volumes }),
    ...(fileSystems.length === 0 ? {} : { fileSystems }),
    ...(firewallRulesets === null ? {} : { firewallRulesets }),
    ...(sshKeys.length === 0 ? {} : { sshKeys }),
    ...(args.user_data === undefined ? {} : { userData: args.user_data }),
    ...(args.sleeps_after_s === undefined ? {} : { idleAfterMs: args.sleeps_after_s * 1000 }),
    ...(args.tags === undefined ? {} : { tags: args.tags }),
    ...(args.expires_in_s === undefined ? {} : { expiresAt: context.now() + args.expires_in_s * 1000 }),
    ...(place === null ? {} : { place }),
  }
}

async function firewallIdsOf({ engine, caller }: ToolContext, words: readonly string[] | undefined): Promise<readonly FirewallRulesetId[] | null> {
  return words === undefined ? null : Promise.all(words.map(async word => (await findFirewall(engine, caller, word)).id))
}

/** A word with a space is a key itself, any other the name of one. */
async function publicKeysOf({ engine, caller }: ToolContext, words: readonly string[]): Promise<readonly string[]> {
  const known = words.every(word => word.trim().includes(' ')) ? [] : await engine.sshKeys.list(withRead(caller))
  return words.map(word => {
    if (word.trim().includes(' ')) return checkedPublicKey(word)
    const found = known.find(({ id, name }) => name === word || id === word)
    if (found === undefined) throw new BerthError('invalid_request', `There is no SSH key ${quoteGo(word)} in this project: give a public key, or the name of one that is there.`)
    return found.publicKey
  })
}

function networkOf(ports: readonly PortMapping[]): NonNullable<CreateInstance['network']> {
  return { enabled: true, downloadBytesPerSecond: null, uploadBytesPerSecond: null, ports }
}

export function typeOf(catalogue: Catalogue, id: string): InstanceType {
  const type = catalogue.types.find(each => each.id === id)
  if (type === undefined) throw new BerthError('invalid_request', `There is no instance type ${quoteGo(id)}: list-instance-types tells which there are.`)
  return type
}

export function regionOf(catalogue: Catalogue, id: string): Region {
  const region = catalogue.regions.find(each => each.id === id)
  if (region === undefined) throw new BerthError('invalid_request', `There is no region ${quoteGo(id)}: list-regions tells which there are.`)
  return region
}

/** Without a region: this machine's. */
export function placeOf(catalogue: Catalogue, region: Region | null, type: InstanceType | null): Place | null {
  const where = region ?? catalogue.regions.find(each => each.simulated === null) ?? null
  return where === null || (region === null && type === null) ? null : placeIn(where, type)
}

async function volumeIdOf({ engine, caller }: ToolContext, word: string): Promise<VolumeId> {
  const volumes = await engine.volumes.list(caller)
  const found = volumes.find(({ id }) => id === word) ?? volumes.find(({ name }) => name === word)
  if (found === undefined) throw new BerthError('volume_not_found', `There is no volume ${quoteGo(word)} in this project.`)
  return found.id
}

// --- images that are only a prompt ------------------------------------------------------------------------------

export interface IdleCommand {
  readonly entrypoint?: readonly string[]
  readonly cmd: readonly string[]
}

/** Programs that read commands from a person, and end at once without one. */
const PROMPTS = new Set(['sh', 'bash', 'ash', 'dash', 'zsh', 'fish', 'ksh', 'busybox', 'python', 'python2', 'python3', 'pypy', 'pypy3', 'node', 'irb', 'ruby', 'php', 'lua', 'ghci', 'iex', 'julia', 'R', 'jshell', 'psql', 'sqlite3'])
const PROMPT_ARGUMENT = /^(-[ial]+|--login|--interactive|sh)$/
/** In every image that has a shell. */
const IDLE = ['tail', '-f', '/dev/null'] as const

/** What to run instead, if the image's command is only a prompt; else null. */
export function idleCommand({ entrypoint, cmd }: Pick<ImageConfig, 'entrypoint' | 'cmd'>): IdleCommand | null {
  if (cmd.length > 0) return isPrompt(cmd) ? { cmd: IDLE } : null
  const [program, ...rest] = IDLE
  return isPrompt(entrypoint) ? { entrypoint: [program], cmd: rest } : null
}

function isPrompt([program = '', ...rest]: readonly string[]): boolean {
  return PROMPTS.has(program.replace(/^.*\//, '')) && rest.every(argument => PROMPT_ARGUMENT.test(argument))
}
