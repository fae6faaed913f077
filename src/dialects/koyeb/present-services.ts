/** Apps, services and deployments on the Koyeb wire. */
import type { Catalogue } from '../../instance/catalogue.ts'
import type { ProjectId } from '../../instance/model.ts'
import type { App, Deployment, DeploymentState, ReplicaSet, Service, ServiceEvent } from '../../instance/service.ts'
import type { Json } from './body.ts'
import { defaultIds, derivedId } from './ids.ts'
import { datacenterOf, homeRegion } from './present.ts'
import { formatNullableTime, formatTime } from './timestamp.ts'

export const SERVICE_STATUSES = ['STARTING', 'HEALTHY', 'DEGRADED', 'UNHEALTHY', 'DELETING', 'DELETED', 'PAUSING', 'PAUSED', 'RESUMING'] as const
export type ServiceStatus = (typeof SERVICE_STATUSES)[number]
export const DEPLOYMENT_STATUSES = [
  'PENDING',
  'PROVISIONING',
  'SCHEDULED',
  'CANCELING',
  'CANCELED',
  'ALLOCATING',
  'STARTING',
  'HEALTHY',
  'DEGRADED',
  'UNHEALTHY',
  'STOPPING',
  'STOPPED',
  'ERRORING',
  'ERROR',
  'STASHED',
  'SLEEPING',
] as const
export type DeploymentStatus = (typeof DEPLOYMENT_STATUSES)[number]

const STATES: Readonly<Record<DeploymentState, DeploymentStatus>> = {
  pending: 'PENDING',
  starting: 'STARTING',
  healthy: 'HEALTHY',
  degraded: 'DEGRADED',
  unhealthy: 'UNHEALTHY',
  sleeping: 'SLEEPING',
  stopping: 'STOPPING',
  stopped: 'STOPPED',
  failed: 'ERROR',
  canceled: 'CANCELED',
}

/** A service with the deployments that say how it is. */
export interface ServiceView {
  readonly service: Service
  readonly latest: Deployment | null
  readonly active: Deployment | null
}

export function serviceStatus({ service, latest, active }: ServiceView): ServiceStatus {
  if (service.deletedAt !== null) return 'DELETED'
  if (service.desired === 'deleted') return 'DELETING'
  const state = (active ?? latest)?.state ?? 'pending'
  if (service.desired === 'paused') return state === 'stopped' ? 'PAUSED' : 'PAUSING'
  switch (state) {
    case 'healthy':
    case 'sleeping':
      return 'HEALTHY'
    case 'degraded':
      return 'DEGRADED'
    case 'pending':
    case 'starting':
      return 'STARTING'
    case 'stopping':
    case 'stopped':
      return service.resumedAt === null ? 'STARTING' : 'RESUMING'
    case 'unhealthy':
    case 'failed':
    case 'canceled':
      return 'UNHEALTHY'
  }
}

export function presentService(view: ServiceView): Json {
  const { service, latest, active } = view
  const message = (active ?? latest)?.message ?? latest?.message ?? null
  return {
    id: service.id,
    created_at: formatTime(service.createdAt),
    updated_at: formatTime(service.updatedAt),
    started_at: formatNullableTime(latest?.startedAt ?? null),
    succeeded_at: formatNullableTime((active ?? latest)?.succeededAt ?? null),
    paused_at: formatNullableTime(service.pausedAt),
    resumed_at: formatNullableTime(service.resumedAt),
    terminated_at: formatNullableTime(service.deletedAt),
    name: service.name,
    type: service.kind,
    organization_id: service.projectId,
    app_id: service.appId,
    status: serviceStatus(view),
    messages: message === null ? [] : [message],
    version: String(service.version),
    active_deployment_id: service.activeDeploymentId ?? '',
    latest_deployment_id: service.latestDeploymentId,
    last_provisioned_deployment_id: service.latestDeploymentId,
    state: {
      desired_deployment: { groups: [{ name: 'prod', deployment_ids: [service.latestDeploymentId] }] },
      auto_release: { groups: [] },
    },
    life_cycle: { delete_after_create: (service.deleteAfterMs ?? 0) / 1000, delete_after_sleep: (service.deleteAfterSleepMs ?? 0) / 1000 },
  }
}

/** An app is as well as the worst of its services. */
export function appStatus(app: App, statuses: readonly ServiceStatus[]): ServiceStatus {
  if (app.deletedAt !== null) return 'DELETED'
  if (statuses.length === 0) return 'HEALTHY'
  if (statuses.every(status => status === 'DELETING')) return 'DELETING'
  if (statuses.every(status => status === 'PAUSED')) return 'PAUSED'
  const order = ['UNHEALTHY', 'DEGRADED', 'RESUMING', 'PAUSING', 'STARTING'] as const
  return order.find(status => statuses.includes(status)) ?? 'HEALTHY'
}

export function presentApp(app: App, statuses: readonly ServiceStatus[]): Json {
  return {
    id: app.id,
    name: app.name,
    organization_id: app.projectId,
    created_at: formatTime(app.createdAt),
    updated_at: formatTime(app.updatedAt),
    started_at: formatTime(app.createdAt),
    succeeded_at: formatTime(app.createdAt),
    paused_at: null,
    resumed_at: null,
    terminated_at: formatNullableTime(app.deletedAt),
    status: appStatus(app, statuses),
    messages: [],
    version: '1',
    domains: [],
    life_cycle: { delete_when_empty: app.removeWhenEmpty },
  }
}

export function deploymentStatus(deployment: Deployment): DeploymentStatus {
  return STATES[deployment.state]
}

export function presentDeployment(deployment: Deployment, host: string): Json {
  return {
    id: deployment.id,
    created_at: formatTime(deployment.createdAt),
    updated_at: formatTime(deployment.updatedAt),
    allocated_at: formatNullableTime(deployment.startedAt),
    started_at: formatNullableTime(deployment.startedAt),
    succeeded_at: formatNullableTime(deployment.succeededAt),
    terminated_at: formatNullableTime(deployment.endedAt),
    organization_id: deployment.projectId,
    app_id: deployment.appId,
    service_id: deployment.serviceId,
    parent_id: '',
    child_id: '',
    status: deploymentStatus(deployment),
    messages: deployment.message === null ? [] : [deployment.message],
    version: String(deployment.version),
    deployment_group: 'prod',
    instance_snapshot_id: '',
    role: deployment.endedAt === null ? 'CURRENT' : 'INVALID',
    skip_build: false,
    definition: deployment.definition,
    provisioning_info: { sha: '', image: deployment.sets[0]?.template.image ?? '', stages: [] },
    database_info: null,
    metadata: {
      trigger: null,
      database: null,
      git: null,
      archive: null,
      sandbox: null,
      proxy_ports: deployment.ports
        .filter(port => port.publicPort !== null)
        .map(port => ({ port: port.guestPort, public_port: port.publicPort, host, protocol: 'tcp' })),
    },
  }
}

export function presentRegionalDeployment(deployment: Deployment, set: ReplicaSet): Json {
  const definition = deployment.definition as Json
  const { instance_types: _types, scalings: _scalings, regions: _regions, proxy_ports: _ports, ...rest } = definition
  return {
    id: set.id,
    created_at: formatTime(deployment.createdAt),
    updated_at: formatTime(deployment.updatedAt),
    allocated_at: formatNullableTime(deployment.startedAt),
    scheduled_at: formatNullableTime(deployment.startedAt),
    started_at: formatNullableTime(deployment.startedAt),
    succeeded_at: formatNullableTime(deployment.succeededAt),
    terminated_at: formatNullableTime(deployment.endedAt),
    organization_id: deployment.projectId,
    app_id: deployment.appId,
    service_id: deployment.serviceId,
    deployment_id: deployment.id,
    parent_id: '',
    child_id: '',
    region: set.region,
    datacenters: [datacenterOf(set.region)],
    status: deploymentStatus(deployment),
    messages: deployment.message === null ? [] : [deployment.message],
    version: String(deployment.version),
    deployment_group: 'prod',
    instance_snapshot_id: '',
    role: deployment.endedAt === null ? 'CURRENT' : 'INVALID',
    definition: {
      ...rest,
      deployment_group: 'prod',
      region: set.region,
      instance_type: set.type,
      mesh: 'REGIONAL_DEPLOYMENT_MESH_AUTO',
      scaling: { min: set.idleMs === null && (set.deepIdleMs ?? null) === null ? set.replicas : 0, max: set.autoscale?.max ?? set.replicas, targets: targetsOf(set) },
    },
    provisioning_info: { sha: '', image: set.template.image, stages: [] },
    metadata: {},
  }
}

function targetsOf({ autoscale }: ReplicaSet): readonly Json[] {
  const given = { average_cpu: autoscale?.cpuPercent ?? null, average_mem: autoscale?.memoryPercent ?? null, concurrent_requests: autoscale?.connections ?? null }
  return Object.entries(given).flatMap(([name, value]) => (value === null ? [] : [{ [name]: { value } }]))
}

const KINDS = { app: 'app_id', service: 'service_id', deployment: 'deployment_id', set: 'regional_deployment_id' } as const

export function presentServiceEvent(event: ServiceEvent): Json {
  return {
    id: derivedId(`koyeb:service-event:${event.seq}`),
    when: formatTime(event.at),
    organization_id: event.projectId,
    [KINDS[event.kind]]: event.subjectId,
    type: event.type,
    message: event.message,
    metadata: {},
  }
}

/** The app, service and deployment of the instances that no service made. They are only presented, never stored. */
export function defaultView(projectId: ProjectId, catalogue: Catalogue): ServiceView & { readonly app: App; readonly deployment: Deployment } {
  const ids = defaultIds(projectId)
  const times = { createdAt: 0, updatedAt: 0 }
  const app: App = { id: ids.app, projectId, name: 'default', removeWhenEmpty: false, ...times, deletedAt: null }
  const region = homeRegion(catalogue)
  const template = { image: '', vcpus: 1, memoryBytes: 0, overlayBytes: 0, env: {}, entrypoint: null, cmd: null }
  const deployment: Deployment = {
    id: ids.deployment,
    projectId,
    appId: ids.app,
    serviceId: ids.service,
    version: 1,
    state: 'healthy',
    message: null,
    sets: [{ id: ids.set, region, type: 'custom', replicas: 0, idleMs: null, template }],
    ports: [],
    deaths: {},
    definition: { name: 'instances', type: 'WORKER', docker: { image: '' }, env: [], regions: [region], scalings: [], instance_types: [], ports: [], routes: [] },
    ...times,
    startedAt: 0,
    succeededAt: 0,
    endedAt: null,
  }
  const service: Service = {
    id: ids.service,
    projectId,
    appId: ids.app,
    name: 'instances',
    kind: 'WORKER',
    desired: 'running',
    version: 1,
    activeDeploymentId: ids.deployment,
    latestDeploymentId: ids.deployment,
    scale: null,
    deleteAfterMs: null,
    deleteAfterSleepMs: null,
    origin: 'koyeb',
    ...times,
    pausedAt: null,
    resumedAt: null,
    deletedAt: null,
  }
  return { app, service, deployment, latest: deployment, active: deployment }
}
