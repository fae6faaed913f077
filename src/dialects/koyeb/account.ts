/**
 * Who asks: user, organization, projects, quotas. A project of Berth is an organization here and its only project
 * (with the same id); a key that administers is its user's token, any other is a token of the organization, which
 * has no profile (the CLI's `whoami` tells the two apart by that).
 */
import type { FastifyRequest } from 'fastify'
import { BerthError } from '../../instance/errors.ts'
import type { Project, ProjectId } from '../../instance/model.ts'
import type { Identity } from '../dialect.ts'
import { LONGEST_IDLE_SECONDS } from './accept.ts'
import type { Json } from './body.ts'
import { derivedId } from './ids.ts'
import { viewOf } from './services.ts'
import { serviceStatus } from './present-services.ts'
import { homeRegion } from './present.ts'
import { typesOf } from '../../instance/catalogue.ts'
import { queryPaging, queryText } from './query.ts'
import { secretsByType } from './secrets.ts'
import type { Surface } from './surface.ts'
import { callerOf, pathParameter, secretOf } from './surface.ts'
import { formatTime } from './timestamp.ts'

/** How long the key lives that a switch to another organization gives. */
const SWITCH_KEY_MS = 3_600_000
/** A key is given again for this long before its end, so that a CLI that switches with each command makes no heap of keys. */
const SWITCH_KEY_SPARE_MS = 600_000
const SWITCHES_KEPT = 1000
const UNLIMITED = '1000000'
/** Instances whose types a summary counts. */
const SUMMARY_LIMIT = 10_000

interface Switched {
  readonly secret: string
  readonly expiresAt: number
}

const switched = new WeakMap<Surface, Map<string, Switched>>()

export async function getProfile(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  if (!caller.scopes.includes('admin')) throw new BerthError('forbidden', 'This is the token of an organization; it has no user.')
  const project = await surface.engine.projects.get(caller, caller.projectId)
  return {
    user: {
      ...publicUser(caller),
      flags: [],
      created_at: formatTime(project.createdAt),
      updated_at: formatTime(project.createdAt),
      last_login: null,
      last_login_ip: '',
      email_validated: true,
      newsletter_subscribed: false,
      trialed: false,
      two_factor_authentication: false,
    },
  }
}

export async function getOwnOrganization(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  return { organization: presentOrganization(await surface.engine.projects.get(caller, caller.projectId)) }
}

export async function getOrganization(surface: Surface, request: FastifyRequest): Promise<Json> {
  return { organization: presentOrganization(await projectOf(surface, request, 'id')) }
}

export async function listOrganizations(surface: Surface, request: FastifyRequest): Promise<Json> {
  const { limit, offset } = queryPaging(request)
  const search = queryText(request, 'search')
  const all = (await surface.engine.projects.list(callerOf(request))).filter(project => search === null || project.name.includes(search))
  return { organizations: all.slice(offset, offset + limit).map(presentOrganization), limit, offset, has_next: offset + limit < all.length }
}

export async function listMembers(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const { limit, offset } = queryPaging(request)
  const project = await surface.engine.projects.get(caller, caller.projectId)
  const user = publicUser(caller)
  const member = {
    id: derivedId(`koyeb:member:${project.id}`),
    organization_id: project.id,
    user_id: user.id,
    role: 'OWNER',
    status: 'ACTIVE',
    joined_at: formatTime(project.createdAt),
    external_id: '',
    organization: { id: project.id, external_id: '', name: project.name, plan: 'internal', status: 'ACTIVE' },
    user,
  }
  return { members: [member].slice(offset, offset + limit), limit, offset, count: 1 }
}

/** The token of another organization: the caller's own where it is its own, else a key that lives for an hour. */
export async function switchOrganization(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const project = await projectOf(surface, request, 'id')
  const isOwn = project.id === caller.projectId
  const { secret, expiresAt } = isOwn ? { secret: secretOf(request) ?? '', expiresAt: null } : await keyFor(surface, caller, project.id)
  return { token: { id: secret, organization_id: project.id, user_id: publicUser(caller).id, expires_at: expiresAt === null ? null : formatTime(expiresAt) } }
}

export async function listProjects(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const { limit, offset } = queryPaging(request)
  const name = queryText(request, 'name')
  const project = await surface.engine.projects.get(caller, caller.projectId)
  const all = name === null || name === project.name ? [await presentProject(surface, caller, project)] : []
  return { projects: all.slice(offset, offset + limit), limit, offset }
}

export async function getProject(surface: Surface, request: FastifyRequest): Promise<Json> {
  return { project: await presentProject(surface, callerOf(request), await projectOf(surface, request, 'id')) }
}

export async function getQuotas(surface: Surface, request: FastifyRequest): Promise<Json> {
  await projectOf(surface, request, 'organization_id')
  const regions = [homeRegion(surface.catalogue)]
  const types = typesOf(surface.catalogue, 'koyeb').filter(type => type.gpu === null).map(type => type.names.koyeb ?? type.id)
  const day = 86_400
  return {
    quotas: {
      apps: UNLIMITED,
      services: UNLIMITED,
      services_by_app: '16',
      service_provisioning_concurrency: '100',
      domains: '0',
      custom_domains: '0',
      domains_load_balancer: { max_koyeb: 0 },
      memory_mb: UNLIMITED,
      archives: '0',
      archive_max_size_mb: '0',
      max_projects: '1',
      max_organization_members: '1',
      max_instances_by_type: Object.fromEntries(types.map(type => [type, UNLIMITED])),
      instance_types: types,
      regions,
      access_reserved_subdomains: [],
      persistent_volumes_by_region: {},
      proxy_ports: 100,
      logs_retention: 7,
      metrics_retention: 1,
      instance_snapshots: { filesystem: 0, full: 0 },
      lifecycle: { delete_after_create_min: 0, delete_after_create_max: 365 * day, delete_after_sleep_min: 0, delete_after_sleep_max: 365 * day },
      scale_to_zero: {
        is_light_sleep_enabled: true,
        light_sleep_idle_delay_min: 1,
        light_sleep_idle_delay_max: LONGEST_IDLE_SECONDS,
        is_deep_sleep_enabled: true,
        deep_sleep_idle_delay_min: 1,
        deep_sleep_idle_delay_max: LONGEST_IDLE_SECONDS,
      },
    },
  }
}

export async function getSummary(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const project = await projectOf(surface, request, 'organization_id')
  if (project.id !== caller.projectId) throw new BerthError('not_found', 'There is no such organization.')
  const { engine } = surface
  const [instances, total, apps, services, secrets] = await Promise.all([
    engine.instances.list(caller, { limit: SUMMARY_LIMIT }),
    engine.instances.count(caller),
    engine.services.count(caller, 'app', { liveOnly: true }),
    engine.services.list(caller, 'service', { liveOnly: true }),
    engine.secrets.list(caller),
  ])
  const statuses = await Promise.all(services.map(async service => ({ kind: service.kind.toLowerCase(), status: serviceStatus(await viewOf(surface, caller, service)) })))
  const kinds = Map.groupBy(statuses, one => one.kind)
  const byKind = [...kinds].map(([kind, ones]) => [kind, { total: String(ones.length), by_status: counts(ones.map(one => one.status)) }] as const)
  const byType = counts(instances.map(instance => instance.annotations['instance_type'] ?? 'custom'))
  return {
    summary: {
      organization_id: project.id,
      instances: { total: String(total), by_type: byType },
      apps: { total: String(apps), by_status: {} },
      services: Object.fromEntries(byKind),
      domains: { total: '0', by_status: {} },
      members: { total: '1', invitations_by_status: {} },
      secrets: { total: String(secrets.length), by_type: secretsByType(secrets) },
      neon_postgres: { total: '0', by_instance_type: {} },
    },
  }
}

async function projectOf(surface: Surface, request: FastifyRequest, parameter: string): Promise<Project> {
  const caller = callerOf(request)
  const id = pathParameter(request, parameter) as ProjectId
  // Who may not look at others doesn't learn which there are.
  if (id !== caller.projectId && !caller.scopes.includes('admin')) throw new BerthError('not_found', 'There is no such organization.')
  return surface.engine.projects.get(caller, id)
}

async function keyFor(surface: Surface, caller: Identity, projectId: ProjectId): Promise<Switched> {
  const now = surface.options.now()
  const keys = switched.get(surface) ?? new Map<string, Switched>()
  switched.set(surface, keys)
  const name = `${caller.keyId ?? ''}/${projectId}`
  const kept = keys.get(name)
  if (kept !== undefined && kept.expiresAt - SWITCH_KEY_SPARE_MS > now) return kept
  const expiresAt = now + SWITCH_KEY_MS
  const { secret } = await surface.engine.keys.create(caller, { name: 'koyeb organization switch', scopes: caller.scopes, projectId, expiresAt })
  if (keys.size >= SWITCHES_KEPT) keys.clear()
  keys.set(name, { secret, expiresAt })
  return { secret, expiresAt }
}

function publicUser(caller: Identity): { readonly id: string } & Json {
  return { id: derivedId(`koyeb:user:${caller.projectId}`), email: 'operator@berth.invalid', name: 'Berth operator', github_id: '', github_user: '', avatar_url: '' }
}

async function presentProject(surface: Surface, caller: Identity, project: Project): Promise<Json> {
  const services = project.id === caller.projectId ? await surface.engine.services.count(caller, 'service', { liveOnly: true }) : 0
  return {
    id: project.id,
    name: project.name,
    description: '',
    organization_id: project.id,
    service_count: String(services),
    created_at: formatTime(project.createdAt),
    updated_at: formatTime(project.createdAt),
  }
}

function presentOrganization(project: Project): Json {
  return {
    id: project.id,
    external_id: '',
    name: project.name,
    plan: 'internal',
    plan_updated_at: null,
    status: 'ACTIVE',
    status_message: 'VALID',
    deactivation_reason: 'INVALID',
    default_project_id: project.id,
    address1: '',
    address2: '',
    city: '',
    postal_code: '',
    state: '',
    country: '',
    company: false,
    vat_number: '',
    billing_name: '',
    billing_email: '',
    verified: true,
    qualifies_for_hobby23: false,
    has_payment_method: true,
    subscription_id: '',
    current_subscription_id: '',
    latest_subscription_id: '',
    signup_qualification: {},
    reprocess_after: null,
    trialing: false,
    trial_starts_at: null,
    trial_ends_at: null,
    email_domain_allowlist: [],
    provisioning: false,
  }
}

function counts(words: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries([...Map.groupBy(words, word => word)].map(([word, all]) => [word, String(all.length)]))
}
