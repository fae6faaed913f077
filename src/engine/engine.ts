/**
 * The front door: assembles the engine over its ports, brings the record and the machines together at start, and
 * lets go of them at the end.
 *
 *   createEngine ─▶ start: serving at once; reconciliation goes on behind ─▶ close: VMs run on
 *
 * The engine doesn't own its ports: whoever opened the store and the hosts closes them, after `close`.
 */
import { randomBytes, randomUUID } from 'node:crypto'
import type { Catalogue } from '../instance/catalogue.ts'
import { EMPTY_CATALOGUE } from '../instance/catalogue.ts'
import type { InstanceId, Project } from '../instance/model.ts'
import { ANNOTATION } from '../instance/service.ts'
import type { Engine } from './api.ts'
import { capacityFor } from './capacity.ts'
import { AuditTrail } from './audit.ts'
import { makeAttachments, remount } from './attachments.ts'
import type { EngineConfigChanges } from './config.ts'
import { engineConfig } from './config.ts'
import type { Core, Logger } from './core.ts'
import { makeDiskRenewal } from './disk-renewal.ts'
import { EventBus } from './event-bus.ts'
import { makeEvents } from './events.ts'
import { Fleet } from './fleet.ts'
import type { RegionalHost } from './fleet.ts'
import { makeFileSystems, recoverFileSystems } from './file-systems.ts'
import { makeFirewalls, reapplyFirewalls } from './firewalls.ts'
import { makeGuest } from './guest.ts'
import { HealthKeeper } from './health/keeper.ts'
import { InboundKeeper } from './idle/inbound-keeper.ts'
import type { Host } from './host-port.ts'
import { HostWatch } from './host-watch.ts'
import { ImageKeeper } from './images.ts'
import { InstancePorts } from './idle/instance-ports.ts'
import { IdleKeeper } from './idle/keeper.ts'
import { makeInstances } from './instances.ts'
import { Journal } from './journal.ts'
import { KeyRing } from './keys.ts'
import { regionOfLink } from './market/ground.ts'
import { makeMarket } from './market/market.ts'
import { makePricing } from './market/pricing.ts'
import type { PricingParts } from './market/pricing.ts'
import { ensureDefaultProject, makeProjects } from './projects.ts'
import { Meter } from './meter.ts'
import { Reconciler } from './reconcile.ts'
import { tellingRefusals } from './refusals.ts'
import { makeReshaping } from './reshaping.ts'
import { makeShareAttachments, remountShares } from './share-attachments.ts'
import { makeSnapshots } from './snapshots/snapshots.ts'
import { resumeTaking, sweepSnapshots } from './snapshots/taking.ts'
import { makeSecrets } from './secrets.ts'
import { makeSshKeys } from './ssh-keys.ts'
import { devicesOf, resourcesOf } from './resources.ts'
import type { Store } from './store-port.ts'
import { Activity } from './services/activity.ts'
import { Autoscaler } from './services/autoscaler.ts'
import { ServiceController } from './services/controller.ts'
import { ServiceProxy } from './services/proxy.ts'
import { Sampler } from './stats-feed.ts'
import { makeServices } from './services/services.ts'
import { makeVolumes, recoverVolumes } from './volumes.ts'
import { Waiting } from './waiting.ts'

/** How long `start` waits for the hosts' first answer before it serves without it. */
const FIRST_LOOK_MS = 500

export interface EngineParts {
  readonly store: Store
  readonly hosts: readonly Host[]
  /** Hosts of other regions than home. */
  readonly regionalHosts?: readonly RegionalHost[]
  readonly logger: Logger
  /** Without it nothing has a price. */
  readonly catalogue?: Catalogue
  readonly config?: EngineConfigChanges
  /** The operator's key (`BERTH_ADMIN_KEY`); null makes one on the first start. */
  readonly adminSecret?: string | null
  /** Unix milliseconds; Date.now where absent. */
  readonly now?: () => number
  readonly randomBytes?: (count: number) => Uint8Array
}

export interface Started {
  readonly defaultProject: Project
  /** The first key's secret, if it was made now. */
  readonly newAdminSecret: string | null
}

export interface BerthEngine extends Engine {
  start(): Promise<Started>
  /** Compares every host with the record now; for tests and for an operator who mended a host. */
  sync(): Promise<void>
  /** Instances that are being worked on. */
  readonly busy: number
}

export function createEngine(parts: EngineParts): BerthEngine {
  const now = parts.now ?? Date.now
  const bus = new EventBus()
  const config = engineConfig(parts.config)
  const fleet = new Fleet(parts.hosts, parts.regionalHosts)
  const catalogue = parts.catalogue ?? EMPTY_CATALOGUE
  const pricing: PricingParts = {
    catalogue,
    floorShare: config.market.floorShare,
    regionOf: hostId => regionOfLink(catalogue, hostId === null ? null : fleet.link(hostId)),
    makeId: randomUUID,
  }
  const base = {
    store: parts.store,
    audit: new AuditTrail({ store: parts.store, logger: parts.logger, config, now }),
    fleet,
    journal: new Journal(parts.store, bus, now, makePricing(pricing)),
    bus,
    config,
    catalogue,
    logger: parts.logger,
    now,
    randomBytes: parts.randomBytes ?? randomBytes,
    graces: new Map(),
  }
  const images = new ImageKeeper(base)
  return assemble({ ...base, images }, images, pricing, parts.adminSecret ?? null)
}

function assemble(core: Core, images: ImageKeeper, pricing: PricingParts, adminSecret: string | null): BerthEngine {
  const firstLook = Promise.withResolvers<void>()
  const closing = new AbortController()
  const loop = new Reconciler(core, firstLook.promise)
  const watch = new HostWatch(core, loop)
  const waiting = new Waiting(core)
  const keys = new KeyRing(core)
  const { lifecycle, launch } = makeInstances({ core, loop, waiting, images: images.api })
  const attachments = makeAttachments(core, loop)
  const market = makeMarket({ core, pricing, launch, attachments, wakeInstance: id => loop.wake(id) })
  images.onSettled = projectId => void wakeWaiting(core, loop, projectId)
  const meter = new Meter(core)
  const activity = new Activity(core.now)
  const controller = new ServiceController(core, lifecycle, activity)
  const services = makeServices({ core, wake: id => controller.wake(id) })
  const proxy = new ServiceProxy(core, lifecycle, activity, (caller, id) => services.wake(caller, id))
  const health = new HealthKeeper(core, id => loop.wake(id))
  const idle = new IdleKeeper(core, (caller, id) => lifecycle.standby(caller, id), activity)
  const inbound = new InboundKeeper(core, (caller, id) => lifecycle.standby(caller, id), activity)
  const ports = new InstancePorts(core, lifecycle, activity)
  const autoscaler = new Autoscaler({ core, wake: id => controller.wake(id), openTo: id => proxy.openTo(id) })
  controller.onChanged = id => {
    proxy.follow(id)
    autoscaler.follow(id)
  }
  activity.onIdle = id => void whenIdle(core, controller, idle, id)
  core.bus.listen(({ instance }) => {
    if (instance.phase !== 'deleted') return
    activity.forget(instance.id)
    autoscaler.forget(instance.id)
  })
  let closed: Promise<void> | null = null

  async function close(): Promise<void> {
    closing.abort()
    waiting.close()
    firstLook.resolve()
    await Promise.all([autoscaler.close(), controller.close(), market.controller.close(), meter.close(), health.close()])
    idle.close()
    await Promise.all([proxy.close(), ports.close(), inbound.close()])
    await Promise.all([loop.close(core.config.closeGraceMs), images.close(), watch.close()])
    await core.audit.close()
  }

  const telling = <R extends Parameters<typeof tellingRefusals>[1]>(room: R, api: BerthEngine[R]) => tellingRefusals<R>(core.audit, room, api)
  return {
    instances: telling('instances', { ...lifecycle, ...attachments, ...makeReshaping(core, loop), ...makeDiskRenewal(core), ...watched(makeGuest({ core, lifecycle, meter }), activity) }),
    events: makeEvents(core, closing.signal),
    statsFeed: new Sampler(core, closing.signal),
    autoStandbys: inbound.api,
    images: telling('images', images.api),
    volumes: telling('volumes', makeVolumes(core)),
    snapshots: telling('snapshots', makeSnapshots(core, loop)),
    keys: telling('keys', keys.api),
    sshKeys: telling('sshKeys', makeSshKeys(core)),
    secrets: telling('secrets', makeSecrets(core)),
    fileSystems: telling('fileSystems', { ...makeFileSystems(core), ...makeShareAttachments(core, loop) }),
    firewalls: telling('firewalls', makeFirewalls(core, loop)),
    projects: telling('projects', makeProjects(core)),
    services: telling('services', services),
    audit: core.audit.api,
    market: telling('market', market.api),
    capacity: caller => capacityFor(core, caller),
    resources: caller => resourcesOf(core, caller),
    devices: caller => devicesOf(core, caller),

    async start() {
      const project = await ensureDefaultProject(core)
      const newAdminSecret = await keys.ensureAdmin(project.id, adminSecret)
      const reconciled = (async () => {
        await resumeTaking(core, loop)
        await watch.begin()
        firstLook.resolve()
        await recoverVolumes(core)
        await recoverFileSystems(core)
        await sweepSnapshots(core)
        await images.begin()
        await remountAll(core, loop)
        await reapplyFirewalls(core, loop)
        await controller.start()
        const lookedAfter = await core.store.read.instances({ projectId: null, watched: true })
        for (const part of [health, idle, inbound, ports]) part.start(lookedAfter)
        await market.controller.start()
        meter.start()
        core.audit.start()
      })().catch((error: unknown) => {
        firstLook.resolve()
        core.logger.error({ err: error }, 'the first look at the hosts met a defect')
      })
      await Promise.race([firstLook.promise, reconciled, new Promise(resolve => setTimeout(resolve, FIRST_LOOK_MS).unref())])
      return { defaultProject: project, newAdminSecret }
    },

    async sync() {
      await watch.sync()
      market.controller.wake()
    },

    get busy() {
      return loop.busy
    },

    close() {
      closed ??= close()
      return closed
    },
  }
}

/** Whoever runs a command in an instance, or copies to it or from it, uses it until that ends. */
function watched<G extends Pick<Engine['instances'], 'exec' | 'copyIn' | 'copyOut'>>(guest: G, activity: Activity): G {
  return {
    ...guest,
    async copyIn(...request: Parameters<Engine['instances']['copyIn']>) {
      const release = activity.hold(request[1])
      try {
        return await guest.copyIn(...request)
      } finally {
        release()
      }
    },
    async copyOut(...request: Parameters<Engine['instances']['copyOut']>) {
      const items = await guest.copyOut(...request)
      return (async function* () {
        const release = activity.hold(request[1])
        try {
          yield* items
        } finally {
          release()
        }
      })()
    },
    async exec(...request: Parameters<Engine['instances']['exec']>) {
      const release = activity.hold(request[1])
      try {
        const session = await guest.exec(...request)
        session.exit.then(release, release)
        return session
      } catch (error) {
        release()
        throw error
      }
    },
  }
}

/** Nobody uses the instance any more: its own policy or its service may have it sleep, after a while. */
async function whenIdle(core: Core, controller: ServiceController, idle: IdleKeeper, id: InstanceId): Promise<void> {
  try {
    await idle.look(id)
    const service = (await core.store.read.instance(id))?.annotations[ANNOTATION.service]
    if (service !== undefined) controller.wake(service)
  } catch (error) {
    core.logger.warn({ err: error, instanceId: id }, 'the service of an idle instance could not be looked at; its next change does it')
  }
}

/** A pull has ended: instances that were created with it go on. */
async function wakeWaiting(core: Core, loop: Reconciler, projectId: Project['id']): Promise<void> {
  try {
    const instances = await core.store.read.instances({ projectId, phases: ['allocated', 'preparing'] })
    for (const instance of instances) if (instance.imageDigest === null) loop.wake(instance.id)
  } catch (error) {
    core.logger.warn({ err: error, projectId }, 'instances that wait for an image could not be woken; the next look at the host does it')
  }
}

/** A crash may have cut off an attach after its record: running guests get all that their record says. */
async function remountAll(core: Core, loop: Reconciler): Promise<void> {
  const serving = await core.store.read.instances({ projectId: null, phases: ['running', 'unhealthy'] })
  const all = [
    ...serving.filter(instance => instance.spec.volumes.length > 0).map(({ id }) => ({ id, mount: remount })),
    ...serving.filter(instance => instance.spec.fileSystems.length > 0).map(({ id }) => ({ id, mount: remountShares })),
  ]
  await Promise.all(
    all.map(({ id, mount }) =>
      mount(core, loop, id).catch((error: unknown) => {
        core.logger.warn({ err: error, instanceId: id }, 'what is mounted in a running instance could not be checked')
      }),
    ),
  )
}
