/** What clients ask of services: each wish is one transaction that checks and records it; the controller does the rest. */
import { BerthError } from '../../instance/errors.ts'
import { ID_BYTES, newId } from '../../instance/ids.ts'
import type { ProjectId } from '../../instance/model.ts'
import { checkInstanceName, checkLabel } from '../../instance/names.ts'
import type { App, Deployment, ReplicaSet, Service, ServiceRecordKind, ServiceRecords } from '../../instance/service.ts'
import { requireScope } from '../access.ts'
import type { Caller, Deployed, NewDeployment, Services } from '../api.ts'
import type { Core } from '../core.ts'
import { specOf } from '../defaults.ts'
import { checkSpec, limitsIn } from '../limits.ts'
import { checkSecrets } from '../secrets.ts'
import type { StoreReader, StoreTx } from '../store-port.ts'
import { tell } from './controller.ts'

export const APPS_PER_PROJECT_LIMIT = 10_000
/** As the original has it. */
export const SERVICES_PER_APP_LIMIT = 16
export const REPLICAS_PER_SET_LIMIT = 1000
export const SETS_PER_DEPLOYMENT_LIMIT = 32
const LIST_LIMIT = 10_000

export interface ServicesParts {
  readonly core: Core
  readonly wake: (serviceId: string) => void
}

export function makeServices({ core, wake }: ServicesParts): Services {
  const { store, now } = core
  const makeId = () => newId('project', core.randomBytes(ID_BYTES)) as string

  async function change(caller: Caller, id: string, action: string, work: (tx: StoreTx, service: Service, at: number) => Promise<Service>): Promise<Service> {
    requireScope(caller, 'write')
    const changed = await store.transaction(async tx => {
      const service = await own(tx, caller, 'service', id)
      if (service.deletedAt !== null || service.desired === 'deleted') throw gone('service', id)
      const at = now()
      const next = await work(tx, service, at)
      await note(tx, caller, `service.${action}`, service)
      if (next === service) return service
      const written = { ...next, version: service.version + 1, updatedAt: at }
      await tx.putServiceRecord('service', written)
      return written
    })
    wake(id)
    return changed
  }

  function note(tx: StoreTx, caller: Caller, action: string, { id, name }: { readonly id: string; readonly name: string }): Promise<void> {
    return core.audit.record(tx, caller, { action, target: { kind: action.split('.')[0] ?? action, id, name } })
  }

  /** Writes a new deployment of a service that is in this transaction. */
  async function addDeployment(tx: StoreTx, service: Pick<Service, 'id' | 'projectId' | 'appId'>, version: number, request: NewDeployment, before: Deployment | null, at: number): Promise<Deployment> {
    const publicPortOf = (guestPort: number) => before?.ports.find(port => port.guestPort === guestPort)?.publicPort ?? null
    const sets = request.sets.map(set => ({ ...set, id: makeId() }))
    const deployment: Deployment = {
      id: makeId(),
      projectId: service.projectId,
      appId: service.appId,
      serviceId: service.id,
      version,
      state: 'pending',
      message: null,
      sets,
      // A port keeps its public port through deployments.
      ports: request.ports.map(guestPort => ({ guestPort, publicPort: publicPortOf(guestPort) })),
      deaths: {},
      ...autoscaledFrom(before, sets),
      definition: request.definition,
      createdAt: at,
      updatedAt: at,
      startedAt: null,
      succeededAt: null,
      endedAt: null,
    }
    await tx.putServiceRecord('deployment', deployment)
    for (const [kind, subjectId] of [['deployment', deployment.id], ...deployment.sets.map(set => ['set', set.id])] as ['deployment' | 'set', string][]) {
      await tell(tx, { projectId: service.projectId, kind, subjectId }, at, 'PENDING', 'Deployment is pending')
    }
    return deployment
  }

  return {
    async createApp(caller, request) {
      requireScope(caller, 'write')
      checkLabel('app', request.name)
      return store.transaction(async tx => {
        await checkAppName(tx, caller.projectId, request.name)
        if ((await tx.countServiceRecords('app', { projectId: caller.projectId, liveOnly: true })) >= APPS_PER_PROJECT_LIMIT) {
          throw new BerthError('limit_exceeded', `The project has ${APPS_PER_PROJECT_LIMIT} apps already: delete some.`)
        }
        const at = now()
        const app: App = { id: makeId(), projectId: caller.projectId, ...request, createdAt: at, updatedAt: at, deletedAt: null }
        await tx.putServiceRecord('app', app)
        await tell(tx, { projectId: app.projectId, kind: 'app', subjectId: app.id }, at, 'CREATED', `App ${app.name} is created`)
        await note(tx, caller, 'app.create', app)
        return app
      })
    },

    async updateApp(caller, id, wanted) {
      requireScope(caller, 'write')
      if (wanted.name !== undefined) checkLabel('app', wanted.name)
      return store.transaction(async tx => {
        const app = await own(tx, caller, 'app', id)
        if (app.deletedAt !== null) throw gone('app', id)
        if (wanted.name !== undefined && wanted.name !== app.name) await checkAppName(tx, caller.projectId, wanted.name)
        const next = { ...app, ...wanted, updatedAt: now() }
        await tx.putServiceRecord('app', next)
        await note(tx, caller, 'app.update', next)
        return next
      })
    },

    async deleteApp(caller, id) {
      requireScope(caller, 'write')
      const { app, services } = await store.transaction(async tx => {
        const found = await own(tx, caller, 'app', id)
        if (found.deletedAt !== null) throw gone('app', id)
        const at = now()
        const living = await tx.serviceRecords('service', { projectId: caller.projectId, appId: id, liveOnly: true })
        for (const service of living) await tx.putServiceRecord('service', { ...service, desired: 'deleted', updatedAt: at })
        // With services it goes when the last of them has.
        const next: App = { ...found, removeWhenEmpty: true, updatedAt: at, deletedAt: living.length === 0 ? at : null }
        await tx.putServiceRecord('app', next)
        await tell(tx, { projectId: found.projectId, kind: 'app', subjectId: id }, at, living.length === 0 ? 'DELETED' : 'DELETING', `App ${found.name} is deleted`)
        await note(tx, caller, 'app.delete', found)
        return { app: next, services: living }
      })
      for (const service of services) wake(service.id)
      return app
    },

    async create(caller, request) {
      requireScope(caller, 'write')
      checkLabel('service', request.name)
      checkInstanceName(`${request.name.slice(0, 40)}-0`)
      checkDeployment(core, request.deployment)
      const made = await store.transaction(async tx => {
        const app = await own(tx, caller, 'app', request.appId)
        if (app.deletedAt !== null) throw gone('app', request.appId)
        const query = { projectId: caller.projectId, appId: app.id, liveOnly: true }
        if ((await tx.countServiceRecords('service', { ...query, name: request.name })) > 0) {
          throw new BerthError('name_conflict', `The app has a service ${request.name} already: choose another name.`, { details: { field: 'definition.name' } })
        }
        if ((await tx.countServiceRecords('service', query)) >= SERVICES_PER_APP_LIMIT) {
          throw new BerthError('limit_exceeded', `An app has at most ${SERVICES_PER_APP_LIMIT} services: use another app.`)
        }
        const at = now()
        const id = makeId()
        const base = { id, projectId: caller.projectId, appId: app.id }
        for (const { template } of request.deployment.sets) await checkSecrets(tx, caller, template)
        const deployment = await addDeployment(tx, base, 1, request.deployment, null, at)
        const service: Service = {
          ...base,
          name: request.name,
          kind: request.kind,
          desired: 'running',
          version: 1,
          activeDeploymentId: null,
          latestDeploymentId: deployment.id,
          scale: null,
          deleteAfterMs: request.deleteAfterMs,
          deleteAfterSleepMs: request.deleteAfterSleepMs,
          origin: caller.via,
          createdAt: at,
          updatedAt: at,
          pausedAt: null,
          resumedAt: null,
          deletedAt: null,
        }
        await tx.putServiceRecord('service', service)
        await tell(tx, { projectId: service.projectId, kind: 'service', subjectId: id }, at, 'CREATED', `Service ${service.name} is created`)
        await note(tx, caller, 'service.create', service)
        return { service, deployment }
      })
      wake(made.service.id)
      return made
    },

    async deploy(caller, id, request, lifeCycle = {}) {
      checkDeployment(core, request)
      let deployment: Deployment | null = null
      const service = await change(caller, id, 'deploy', async (tx, before, at) => {
        for (const { template } of request.sets) await checkSecrets(tx, caller, template)
        const earlier = await tx.serviceRecord('deployment', before.latestDeploymentId)
        deployment = await addDeployment(tx, before, before.version + 1, request, earlier, at)
        await tell(tx, { projectId: before.projectId, kind: 'service', subjectId: id }, at, 'UPDATED', `Deployment ${deployment.id} is on its way`)
        const resumed = before.desired === 'paused' ? ({ desired: 'running', resumedAt: at } as const) : {}
        return { ...before, ...lifeCycle, ...resumed, latestDeploymentId: deployment.id, scale: before.scale }
      })
      return { service, deployment } as unknown as Deployed
    },

    async scale(caller, id, scale) {
      for (const count of Object.values(scale ?? {})) {
        if (!Number.isInteger(count) || count < 0) throw new BerthError('invalid_request', 'The number of instances must be a whole number from 0 up.', { details: { field: 'scalings' } })
        if (count > REPLICAS_PER_SET_LIMIT) throw new BerthError('limit_exceeded', `A region has at most ${REPLICAS_PER_SET_LIMIT} instances of a service.`)
      }
      return change(caller, id, 'scale', async (tx, before, at) => {
        await tell(tx, { projectId: before.projectId, kind: 'service', subjectId: id }, at, 'SCALED', scale === null ? 'Scaling follows the deployment again' : 'Scaling was set by hand')
        return { ...before, scale }
      })
    },

    pause: (caller, id) =>
      change(caller, id, 'pause', async (tx, before, at) => {
        if (before.desired === 'paused') return before
        await tell(tx, { projectId: before.projectId, kind: 'service', subjectId: id }, at, 'PAUSED', `Service ${before.name} is paused`)
        return { ...before, desired: 'paused', pausedAt: at }
      }),

    resume: (caller, id) =>
      change(caller, id, 'resume', async (tx, before, at) => {
        if (before.desired === 'running') return before
        await tell(tx, { projectId: before.projectId, kind: 'service', subjectId: id }, at, 'RESUMED', `Service ${before.name} is resumed`)
        return { ...before, desired: 'running', resumedAt: at }
      }),

    async wake(caller, id) {
      // Waking is part of running a command.
      requireScope(caller, 'exec')
      const isWoken = await store.transaction(async tx => {
        const service = await own(tx, caller, 'service', id)
        const deployment = await tx.serviceRecord('deployment', service.activeDeploymentId ?? service.latestDeploymentId)
        if (service.desired !== 'running' || deployment === null || Object.keys(deployment.dormant ?? {}).length === 0) return false
        const at = now()
        await tx.putServiceRecord('deployment', { ...deployment, dormant: {}, updatedAt: at })
        await tell(tx, { projectId: service.projectId, kind: 'deployment', subjectId: deployment.id }, at, 'WAKING', 'Deployment wakes from deep sleep')
        return true
      })
      if (isWoken) wake(id)
      return isWoken
    },

    delete: (caller, id) =>
      change(caller, id, 'delete', async (tx, before, at) => {
        await tell(tx, { projectId: before.projectId, kind: 'service', subjectId: id }, at, 'DELETING', `Service ${before.name} is being deleted`)
        return { ...before, desired: 'deleted' }
      }),

    async cancelDeployment(caller, id) {
      requireScope(caller, 'write')
      const canceled = await store.transaction(async tx => {
        const deployment = await own(tx, caller, 'deployment', id)
        const service = await own(tx, caller, 'service', deployment.serviceId)
        if (deployment.endedAt !== null || service.activeDeploymentId === id) {
          throw new BerthError('invalid_state', 'The deployment serves or is over: only one that is on its way can be canceled.')
        }
        const at = now()
        const next: Deployment = { ...deployment, state: 'canceled', updatedAt: at, endedAt: at }
        await tx.putServiceRecord('deployment', next)
        await tell(tx, { projectId: next.projectId, kind: 'deployment', subjectId: id }, at, 'CANCELED', 'Deployment is canceled')
        await note(tx, caller, 'deployment.cancel', { id, name: service.name })
        return next
      })
      wake(canceled.serviceId)
      return canceled
    },

    async get(caller, kind, id) {
      requireScope(caller, 'read')
      return own(store.read, caller, kind, id)
    },

    async list(caller, kind, filter = {}) {
      requireScope(caller, 'read')
      return store.read.serviceRecords(kind, { ...filter, projectId: caller.projectId, limit: Math.min(filter.limit ?? LIST_LIMIT, LIST_LIMIT) })
    },

    async count(caller, kind, filter = {}) {
      requireScope(caller, 'read')
      return store.read.countServiceRecords(kind, { ...filter, projectId: caller.projectId })
    },

    async events(caller, query) {
      requireScope(caller, 'read')
      return store.read.serviceEvents({ ...query, projectId: caller.projectId })
    },
  }
}

/** A new deployment begins with as many replicas as autoscaling had come to. */
function autoscaledFrom(before: Deployment | null, sets: readonly ReplicaSet[]): Pick<Deployment, 'autoscaled'> {
  const entries = sets.flatMap(({ id, region, autoscale }) => {
    const earlier = before?.sets.find(set => set.region === region)
    const count = earlier === undefined ? undefined : before?.autoscaled?.[earlier.id]
    return autoscale === undefined || count === undefined ? [] : [[id, Math.min(autoscale.max, Math.max(1, autoscale.min, count))] as const]
  })
  return entries.length === 0 ? {} : { autoscaled: Object.fromEntries(entries) }
}

async function own<K extends ServiceRecordKind>(reader: Pick<StoreReader, 'serviceRecord'>, caller: Pick<Caller, 'projectId'>, kind: K, id: string): Promise<ServiceRecords[K]> {
  const record = await reader.serviceRecord(kind, id)
  if (record === null || record.projectId !== caller.projectId) throw gone(kind, id)
  return record
}

function gone(kind: ServiceRecordKind, id: string): BerthError {
  return new BerthError('not_found', `There is no ${kind} ${id}.`, { details: { id } })
}

async function checkAppName(tx: StoreTx, projectId: ProjectId, name: string): Promise<void> {
  if ((await tx.countServiceRecords('app', { projectId, name, liveOnly: true })) === 0) return
  throw new BerthError('name_conflict', `There is an app ${name} already: choose another name.`, { details: { field: 'name' } })
}

/** Each replica is an instance that this installation allows. */
function checkDeployment(core: Core, request: NewDeployment): void {
  if (request.sets.length === 0) throw new BerthError('invalid_request', 'A deployment needs a region.', { details: { field: 'definition.regions' } })
  if (request.sets.length > SETS_PER_DEPLOYMENT_LIMIT) throw new BerthError('limit_exceeded', `A deployment has at most ${SETS_PER_DEPLOYMENT_LIMIT} regions.`)
  for (const set of request.sets) {
    if (!Number.isInteger(set.replicas) || set.replicas < 0 || set.replicas > REPLICAS_PER_SET_LIMIT) {
      throw new BerthError('invalid_request', `A region has 0 to ${REPLICAS_PER_SET_LIMIT} replicas.`, { details: { field: 'definition.scalings' } })
    }
    if (set.autoscale !== undefined && set.autoscale.max > REPLICAS_PER_SET_LIMIT) throw new BerthError('invalid_request', `A region has at most ${REPLICAS_PER_SET_LIMIT} replicas.`, { details: { field: 'definition.scalings' } })
    const spec = specOf(set.template, 'replica-0')
    checkSpec(spec, limitsIn(core, spec), core.now())
  }
}
