/**
 * What clients ask of instances. Each change is one transaction that checks the phase, makes room where room is
 * needed, and takes the first step, so that two who ask at once can't both be right; the reconcile loop does the
 * rest. The phase tells what is being done, and a phase that can't do it says `invalid_state`.
 */
import { createHash } from 'node:crypto'
import type { AuditDetails } from '../instance/audit.ts'
import { checkCommand, resolveCommand } from '../instance/command.ts'
import { BerthError } from '../instance/errors.ts'
import { ID_BYTES, newId } from '../instance/ids.ts'
import { checkAutoStandby } from '../instance/auto-standby.ts'
import { healthAtStart } from '../instance/health.ts'
import { parseImageName } from '../instance/image-name.ts'
import type { Image, Instance, InstanceId, InstanceSpec } from '../instance/model.ts'
import { checkEnv, checkTags, generateName } from '../instance/names.ts'
import { isServing } from '../instance/phase.ts'
import type { Phase } from '../instance/phase.ts'
import { checkSharing } from '../instance/volume-rules.ts'
import { ownInstance, ownVolume, requireScope } from './access.ts'
import type { Candidate } from './admission.ts'
import { candidatesOf, placeNew } from './admission.ts'
import { instanceTarget } from './audit.ts'
import type { Caller, CreateInstance, Images, InstanceChange, InstanceFilter, Instances } from './api.ts'
import type { Core } from './core.ts'
import { specOf } from './defaults.ts'
import { checkFileSystems, linksWithFileSystems } from './file-systems.ts'
import { checkFirewallRulesets, hostsWithFirewalls } from './firewalls.ts'
import { checkIdlePorts } from './idle/proxied-ports.ts'
import { checkCount, checkExpiry, checkHealthChecks, checkRestartPolicy, checkSpec, limitsIn } from './limits.ts'
import type { Change } from './journal.ts'
import { allocate } from './operations.ts'
import type { Reconciler } from './reconcile.ts'
import { refuseOrderAnnotations, requireGrant } from './market/grant.ts'
import type { IdempotencyRecord, StoreTx } from './store-port.ts'
import { checkSecrets, registryCredentials } from './secrets.ts'
import { withSshPort } from './ssh-port.ts'
import { checkConfigFiles } from '../instance/config-file.ts'
import { checkUserData } from './user-data/first-boot.ts'
import type { Waiting } from './waiting.ts'

/** Makes an instance for the engine itself; `check` is asked in the transaction that makes it. */
export type LaunchInstance = (
  caller: Caller,
  request: CreateInstance,
  options: { readonly idempotencyKey: string; readonly idempotencyBasis: unknown; readonly check: (tx: StoreTx) => Promise<void> },
) => Promise<Instance>

type Lifecycle = Omit<Instances, 'reshape' | 'renewDisk' | 'attachVolume' | 'detachVolume' | 'exec' | 'stat' | 'copyIn' | 'copyOut' | 'readDirectory' | 'logs' | 'stats' | 'statsHistory'>

export const IDEMPOTENCY_KEY_LIMIT_CHARACTERS = 255
/** Instances that one list returns at most. */
export const LIST_LIMIT = 10_000
/** Names that are tried before a request without one gives up. */
const NAME_ATTEMPTS = 20

const STOPPABLE: readonly Phase[] = ['preparing', 'starting', 'running', 'unhealthy', 'preempting']
const STARTABLE: readonly Phase[] = ['stopped', 'preempted', 'failed']

export interface InstancesParts {
  readonly core: Core
  readonly loop: Reconciler
  readonly waiting: Waiting
  readonly images: Pick<Images, 'pull' | 'get'>
}

export function makeInstances(parts: InstancesParts): { readonly lifecycle: Lifecycle; readonly launch: LaunchInstance } {
  const { core, loop, waiting } = parts
  const reader = core.store.read

  /** One wish: checked and recorded in one transaction, then worked on. */
  async function wish(
    caller: Caller,
    id: InstanceId,
    action: string,
    work: (change: Change, instance: Instance, candidate: Candidate | null) => Promise<Instance>,
    details: AuditDetails = {},
  ) {
    requireScope(caller, 'write')
    const before = await ownInstance(reader, caller, id)
    const candidate = await candidateOf(core, before)
    try {
      return await core.journal.commit(async change => {
        const done = await work(change, await ownInstance(change.tx, caller, id), candidate)
        await core.audit.record(change.tx, caller, { action: `instance.${action}`, target: instanceTarget(done), details })
        return done
      })
    } finally {
      // Even after an error: a commit whose answer was lost is a wish too.
      loop.wake(id)
    }
  }

  async function made(caller: Caller, request: CreateInstance, idempotency: Idempotency | null, check: (tx: StoreTx) => Promise<void>): Promise<Instance> {
    requireScope(caller, 'write')
    const id = newId('instance', core.randomBytes(ID_BYTES))
    try {
      return await create(parts, caller, request, id, idempotency, check)
    } finally {
      loop.wake(id)
    }
  }

  const launch: LaunchInstance = (caller, request, { idempotencyKey, idempotencyBasis, check }) =>
    made(caller, request, idempotencyOf(caller, idempotencyKey, idempotencyBasis), check)

  const lifecycle: Lifecycle = {
    async create(caller, request, options = {}) {
      refuseOrderAnnotations(request.annotations)
      const { idempotencyKey: key, idempotencyBasis: basis = request } = options
      return made(caller, request, key === undefined ? null : idempotencyOf(caller, key, basis), async () => {})
    },

    async get(caller, id) {
      requireScope(caller, 'read')
      return ownInstance(reader, caller, id, { includeDeleted: true })
    },

    async list(caller, filter = {}) {
      requireScope(caller, 'read')
      const { limit, ...query } = filter
      return reader.instances({ ...query, projectId: caller.projectId, limit: Math.min(limit ?? LIST_LIMIT, LIST_LIMIT) })
    },

    async count(caller, filter: InstanceFilter = {}) {
      requireScope(caller, 'read')
      return reader.countInstances({ ...filter, projectId: caller.projectId })
    },

    start(caller, id, override = {}) {
      return wish(caller, id, 'start', async (change, instance, candidate) => {
        if (!STARTABLE.includes(instance.phase)) throw refused('start', instance)
        await requireGrant(change.tx, instance, 'start')
        const spec = withCommand(instance.spec, override)
        const patch = { spec, desired: 'running', restartAttempts: 0, reason: null } as const
        return allocate(core, change, { ...instance, spec }, present(candidate), patch)
      })
    },

    stop(caller, id, options = {}) {
      const graceMs = options.graceMs ?? null
      return wish(caller, id, 'stop', async (change, instance) => {
        if (graceMs !== null) checkCount('graceMs', graceMs, 0, core.config.limits.maxStopGraceMs)
        const pendingRestart = instance.phase === 'stopped' && instance.desired === 'running'
        if (pendingRestart) return change.note(instance, 'It is not started again, as was asked.', { desired: 'stopped', reason: null })
        const fromStandby = options.fromStandby === true && instance.phase === 'standby'
        if (!STOPPABLE.includes(instance.phase) && !fromStandby) throw refused('stop', instance)
        if (graceMs === null) core.graces.delete(id)
        else core.graces.set(id, graceMs)
        return change.step(instance, 'stopping', { desired: 'stopped', restartAttempts: 0 })
      })
    },

    restart(caller, id) {
      return wish(caller, id, 'restart', async (change, instance, candidate) => {
        if (STARTABLE.includes(instance.phase)) {
          await requireGrant(change.tx, instance, 'restart')
          return allocate(core, change, instance, present(candidate), { desired: 'running', restartAttempts: 0, reason: null })
        }
        if (!isServing(instance.phase)) throw refused('restart', instance)
        core.graces.delete(id)
        return change.step(instance, 'stopping', { desired: 'running', restartAttempts: 0, reason: 'It is restarted.' })
      })
    },

    standby(caller, id) {
      return wish(caller, id, 'standby', async (change, instance) => {
        if (instance.phase !== 'running' && instance.phase !== 'unhealthy') throw refused('standby', instance)
        return change.step(instance, 'suspending', { desired: 'standby' })
      })
    },

    restore(caller, id) {
      return wish(caller, id, 'restore', async (change, instance, candidate) => {
        if (instance.phase !== 'standby') throw refused('restore', instance)
        await requireGrant(change.tx, instance, 'restore')
        return allocate(core, change, instance, present(candidate), { desired: 'running' })
      })
    },

    delete(caller, id, options = {}) {
      return wish(caller, id, 'delete', async (change, instance) => {
        if (instance.phase === 'deleting') return instance
        if (options.graceful === true && STOPPABLE.includes(instance.phase)) {
          return change.step(instance, 'stopping', { desired: 'deleted', reason: 'It is deleted.' })
        }
        if (instance.phase === 'stopping' && options.graceful === true) return change.note(instance, null, { desired: 'deleted' })
        return change.step(instance, 'deleting', { desired: 'deleted' })
      })
    },

    async update(caller, id, changes) {
      checkChanges(changes, core.now())
      refuseOrderAnnotations(changes.annotations)
      return wish(caller, id, 'update', async (change, instance) => {
        if (instance.phase === 'deleting') throw refused('update', instance)
        await checkSecrets(change.tx, caller, changes)
        const { annotations = {}, ...specChanges } = changes
        const merged = { ...instance.annotations, ...annotations }
        checkAnnotations(merged, core.config.limits.maxAnnotationsBytes)
        // A note is told to those who follow instances.
        const told = changes.autoStandby === undefined ? null : 'Its automatic standby is another.'
        const updated = await change.note(instance, told, { spec: { ...instance.spec, ...specChanges }, annotations: merged })
        return changes.healthChecks === undefined ? updated : checkedAnew(change, updated, core.now())
      }, { changed: Object.keys(changes) })
    },

    async wait(caller, id, options) {
      requireScope(caller, 'read')
      return waiting.wait(await ownInstance(reader, caller, id, { includeDeleted: true }), options)
    },
  }
  return { lifecycle, launch }
}

/** `invalid_state`, with the operation and the phase that refuses it. */
export function refused(operation: string, instance: Instance): BerthError {
  return new BerthError('invalid_state', `An instance that is ${instance.phase} can't do that (${operation}).`, {
    details: { operation, phase: instance.phase },
  })
}

// --- create ---------------------------------------------------------------------------------------------------

async function create(
  parts: InstancesParts,
  caller: Caller,
  request: CreateInstance,
  id: InstanceId,
  idempotency: Idempotency | null,
  check: (tx: StoreTx) => Promise<void>,
): Promise<Instance> {
  const { core } = parts
  if (idempotency !== null) {
    const earlier = await core.store.transaction(async tx => recall(tx, idempotency))
    if (earlier !== null) return earlier
  }
  const image = await imageFor(parts, caller, request)
  const asked = specOf(request, request.name ?? (await freeName(core, caller)))
  checkSpec(asked, limitsIn(core, asked), core.now())
  const userData = request.userData === undefined || request.userData === '' ? null : request.userData
  if (userData !== null) checkUserData(userData)
  const { files = [] } = request
  checkConfigFiles(files)
  checkAnnotations(request.annotations ?? {}, core.config.limits.maxAnnotationsBytes)
  if (image.digest !== null) await checkRunnable(core, image.digest, asked)
  const volumeIds = asked.volumes.map(mount => mount.volumeId)
  const links = await core.fleet.holding(image.digest, volumeIds, asked.place)
  // Content is local to one host.
  const candidates = hostsWithFirewalls(asked.firewallRulesets, await candidatesOf(await linksWithFileSystems(core, caller, asked, links)))
  const spec = await withSshPort(core, asked, candidates)
  checkIdlePorts(spec, candidates)
  return core.journal.commit(async change => {
    const earlier = idempotency === null ? null : await recall(change.tx, idempotency)
    if (earlier !== null) return earlier
    await check(change.tx)
    await checkRoomInProject(core, change, caller, spec)
    if (!core.images.isBuiltIn(image.name)) await stillThere(change, caller, image)
    for (const mount of spec.volumes) {
      const volume = await ownVolume(change.tx, caller, mount.volumeId)
      if (volume.status !== 'ready') throw new BerthError('volume_conflict', `The volume ${volume.id} is ${volume.status}: wait until it is ready.`)
      checkSharing(volume.id, volume.attachments, { instanceId: id, mode: mount.mode })
    }
    await checkFileSystems(change.tx, caller, spec)
    await checkFirewallRulesets(change.tx, caller, spec.firewallRulesets)
    await checkSecrets(change.tx, caller, { ...spec, files })
    const draft = draftOf(id, caller, spec, request, image, core.now())
    const inserted = await change.insert(draft)
    if (userData !== null || spec.sshKeys.length > 0 || files.length > 0) await change.tx.insertFirstBoot(id, { userData, files })
    const { reservation, address } = await placeNew(change.tx, candidates, inserted, core)
    for (const { volumeId, path, mode } of spec.volumes) await change.tx.putAttachment(volumeId, { instanceId: id, path, mode })
    if (idempotency !== null) await change.tx.putIdempotent({ ...idempotency, instanceId: id, createdAt: core.now() })
    const { image: wanted, vcpus, memoryBytes } = spec
    await core.audit.record(change.tx, caller, { action: 'instance.create', target: instanceTarget(inserted), details: { image: wanted, vcpus, memoryBytes } })
    return change.step(inserted, 'allocated', { hostId: reservation.hostId, address, generation: 1 })
  })
}

function draftOf(id: InstanceId, caller: Caller, spec: InstanceSpec, request: CreateInstance, image: Image, now: number): Instance {
  return {
    id,
    projectId: caller.projectId,
    spec,
    imageDigest: image.status === 'ready' ? image.digest : null,
    desired: 'running',
    phase: 'pending',
    phaseSince: now,
    reason: null,
    errorCode: null,
    hostId: null,
    address: null,
    basis: null,
    generation: 0,
    exit: null,
    restartAttempts: 0,
    createdAt: now,
    startedAt: null,
    stoppedAt: null,
    deletedAt: null,
    origin: caller.via,
    annotations: request.annotations ?? {},
  }
}

/** The image that the request means: ready, or with `pull: 'missing'` on its way. */
async function imageFor(parts: InstancesParts, caller: Caller, request: CreateInstance): Promise<Image> {
  const { name } = parseImageName(request.image)
  const known = await parts.core.images.lookUp(caller.projectId, name)
  const pulls = request.pull === 'missing'
  if (pulls && (known === null || known.status === 'failed')) {
    const { imageSecret } = request
    const login = imageSecret === undefined ? {} : { credentials: await registryCredentials(parts.core.store.read, caller.projectId, imageSecret, name) }
    return parts.images.pull(caller, { name, ...login })
  }
  if (known === null) throw new BerthError('image_not_found', `There is no image ${name} here: pull it first.`, { details: { image: name } })
  if (known.status === 'failed' && !pulls) {
    throw new BerthError('image_failed', `The image ${name} could not be pulled: ${known.error ?? 'nobody said why'}`, { details: { image: name } })
  }
  if (known.status !== 'ready' && !pulls) {
    throw new BerthError('image_not_ready', `The image ${name} is ${known.status}: wait until it is ready.`, {
      details: { image: name, status: known.status },
    })
  }
  return known
}

/** The image was looked up before the transaction; a delete in between must win. */
async function stillThere(change: Change, caller: Caller, image: Image): Promise<void> {
  if (image.status !== 'ready') return
  const now = await change.tx.image(caller.projectId, image.name)
  const isThere = now?.digest === image.digest || (await change.tx.images(caller.projectId)).some(other => other.digest === image.digest)
  if (!isThere) throw new BerthError('image_not_found', `The image ${image.name} was deleted meanwhile: pull it again.`, { details: { image: image.name } })
}

async function checkRunnable(core: Core, digest: NonNullable<Image['digest']>, spec: InstanceSpec): Promise<void> {
  const image = await core.fleet.home.image(digest)
  if (image === null) throw new BerthError('image_not_found', `The image ${spec.image} is not on the host any more: delete it and pull it again.`)
  resolveCommand(image.config, spec)
}

export async function checkRoomInProject(core: Core, change: Change, caller: Caller, spec: Pick<InstanceSpec, 'name'>): Promise<void> {
  const { projectId } = caller
  const [taken] = await change.tx.instances({ projectId, name: spec.name, limit: 1 })
  if (taken !== undefined) {
    throw new BerthError('name_conflict', `The name ${spec.name} is taken by another instance: choose another, or delete that one.`, {
      details: { name: spec.name, instanceId: taken.id },
    })
  }
  const { maxInstancesPerProject } = core.config.limits
  if ((await change.tx.countInstances({ projectId })) >= maxInstancesPerProject) {
    throw new BerthError('limit_exceeded', `The project has ${maxInstancesPerProject} instances already: delete some.`)
  }
}

async function freeName(core: Core, caller: Caller): Promise<string> {
  const random = () => {
    const [a = 0, b = 0, c = 0, d = 0] = core.randomBytes(4)
    return (((a * 256 + b) * 256 + c) * 256 + d) / 2 ** 32
  }
  for (let attempt = 0; attempt < NAME_ATTEMPTS; attempt++) {
    const name = generateName(random)
    if ((await core.store.read.countInstances({ projectId: caller.projectId, name })) === 0) return name
  }
  throw new BerthError('name_conflict', 'No free name was found: give one.')
}

type Idempotency = Pick<IdempotencyRecord, 'projectId' | 'key' | 'requestHash'>

function idempotencyOf(caller: Caller, key: string, request: unknown): Idempotency {
  if (key === '' || key.length > IDEMPOTENCY_KEY_LIMIT_CHARACTERS) {
    throw new BerthError('invalid_request', `An idempotency key has 1 to ${IDEMPOTENCY_KEY_LIMIT_CHARACTERS} characters, not ${key.length}.`)
  }
  const requestHash = createHash('sha256').update(canonical(request)).digest('hex')
  return { projectId: caller.projectId, key, requestHash }
}

/** The same text for the same request, in whatever order its keys came. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) =>
    part !== null && typeof part === 'object' && !Array.isArray(part) ? Object.fromEntries(Object.entries(part).toSorted(([a], [b]) => (a < b ? -1 : 1))) : part,
  )
}

async function recall(tx: Change['tx'], idempotency: Idempotency): Promise<Instance | null> {
  const record = await tx.idempotent(idempotency.projectId, idempotency.key)
  if (record === null) return null
  if (record.requestHash !== idempotency.requestHash) {
    throw new BerthError('idempotency_conflict', 'This idempotency key was used for another request: use a new one.', {
      details: { instanceId: record.instanceId },
    })
  }
  return tx.instance(record.instanceId)
}

// --- the other wishes -----------------------------------------------------------------------------------------

/** The host that a wish may need room on, with its facts; they are read before the transaction. */
async function candidateOf(core: Core, instance: Instance): Promise<Candidate | null> {
  const needsRoom = instance.phase === 'standby' || STARTABLE.includes(instance.phase)
  if (!needsRoom) return null
  const link = instance.hostId === null ? core.fleet.firstOf(instance.spec.place) : core.fleet.link(instance.hostId)
  if (link.silent) return null
  return { link, facts: await link.facts() }
}

function present(candidate: Candidate | null): Candidate {
  if (candidate === null) throw new BerthError('host_unavailable', 'The host of this instance does not answer: try again in a moment.')
  return candidate
}

function withCommand(spec: InstanceSpec, override: Partial<Pick<InstanceSpec, 'entrypoint' | 'cmd'>>): InstanceSpec {
  const { entrypoint, cmd } = override
  if (entrypoint !== undefined && entrypoint !== null && entrypoint.length > 0) checkCommand(entrypoint)
  if (cmd !== undefined && cmd !== null && cmd.length > 0) checkCommand(['entrypoint', ...cmd])
  return { ...spec, ...(entrypoint === undefined ? {} : { entrypoint }), ...(cmd === undefined ? {} : { cmd }) }
}

/** Other health checks: what the earlier ones said is over. */
function checkedAnew(change: Change, instance: Instance, at: number): Promise<Instance> {
  const wasIll = instance.phase === 'unhealthy' && instance.health?.status === 'unhealthy'
  const health = isServing(instance.phase) ? healthAtStart(instance.spec.healthChecks, at) : null
  if (wasIll) return change.step(instance, 'running', { health, reason: 'Its health checks are others.' })
  return change.note(instance, 'Its health checks are others.', { health })
}

function checkChanges(changes: InstanceChange, now: number): void {
  const unknown = Object.keys(changes).find(key => !['tags', 'restart', 'expiresAt', 'env', 'secrets', 'healthChecks', 'autoStandby', 'annotations'].includes(key))
  if (unknown !== undefined) throw new BerthError('invalid_request', `${unknown} can't change on a living instance.`, { details: { field: unknown } })
  if (changes.tags !== undefined) checkTags(changes.tags)
  if (changes.env !== undefined) checkEnv(changes.env)
  if (changes.restart !== undefined) checkRestartPolicy(changes.restart)
  if (changes.healthChecks !== undefined) checkHealthChecks(changes.healthChecks)
  if (changes.autoStandby !== undefined && changes.autoStandby !== null) checkAutoStandby(changes.autoStandby)
  if (changes.expiresAt !== undefined) checkExpiry(changes.expiresAt, now)
}

function checkAnnotations(annotations: Readonly<Record<string, string>>, limitBytes: number): void {
  const bytes = Buffer.byteLength(JSON.stringify(annotations))
  if (bytes > limitBytes) throw new BerthError('invalid_request', `The annotations have ${bytes} bytes; at most ${limitBytes} are allowed.`)
}
