/**
 * Who asks, and what there is: me, projects, keys, quotas, images. Berth has keys and projects but no people: all keys
 * of a project are one user to this wire, whose name and address are made of the project's.
 */
import type { FastifyRequest } from 'fastify'
import { spellId } from '../../instance/ids.ts'
import { parseId } from '../../instance/ids.ts'
import { defaultMachineImage, familyOf, readyImages } from '../../instance/machine-image.ts'
import type { ApiKey } from '../../instance/model.ts'
import type { Identity } from '../dialect.ts'
import { bodyFields, queryFields } from './body.ts'
import { asValidation, httpError } from './errors.ts'
import { derivedFid, imageVersionFid, userFid } from './fids.ts'
import type * as wire from './schema.ts'
import { presentType, regionName, shapesOf } from './shape.ts'
import type { Surface } from './surface.ts'
import { callerOf, DIALECT, finishInProject, KEY_PREFIX, pathId, projectFid } from './surface.ts'
import { formatTime } from './time.ts'

const NAME_LIMIT_CHARACTERS = 255
/** What a key that never expires tells: the wire wants a time. */
const NEVER = '9999-12-31T23:59:59Z'
const SNIPPET_CHARACTERS = 4

interface Me {
  readonly id: string
  readonly fid: string
  readonly email: string
  readonly user_name: string | null
  readonly organization_id: string
  readonly organization_role: string | null
}

export async function getMe(surface: Surface, request: FastifyRequest): Promise<Me> {
  const caller = callerOf(request)
  const { name } = await surface.engine.projects.get(caller, caller.projectId)
  const fid = userFid(caller.projectId)
  return {
    id: caller.projectId,
    fid,
    email: `${addressOf(name)}@berth.invalid`,
    user_name: name,
    organization_id: derivedFid('org_', 'berth'),
    organization_role: roleOf(caller),
  }
}

export async function listTeammates(surface: Surface, request: FastifyRequest): Promise<readonly object[]> {
  const { organization_id: _, ...me } = await getMe(surface, request)
  return [{ ...me, project_ids: [projectFid(callerOf(request))], deactivated_at: null }]
}

/** The key's own: an operator's key sees others elsewhere, but acts in its own only. */
export async function listProjects(surface: Surface, request: FastifyRequest): Promise<readonly object[]> {
  const caller = callerOf(request)
  const project = await surface.engine.projects.get(caller, caller.projectId)
  return [{ fid: projectFid(caller), name: project.name, created_at: formatTime(project.createdAt) }]
}

export async function listInstanceTypes(surface: Surface, request: FastifyRequest): Promise<readonly wire.InstanceType[]> {
  callerOf(request)
  return shapesOf(surface.catalogue).map(presentType)
}

export async function listQuotas(surface: Surface, request: FastifyRequest): Promise<readonly wire.Quota[]> {
  const caller = callerOf(request)
  finishInProject(queryFields(request), caller)
  return (await surface.engine.market.quotas(caller)).map(({ product, total, used }) => ({
    fid: derivedFid('quota_', `${caller.projectId}/${product}`),
    project: projectFid(caller),
    instance_type: null,
    product_type: product,
    total_quantity: total,
    used_quantity: used,
    units: 'instances',
    name: `${product} instances`,
  }))
}

// --- images -----------------------------------------------------------------------------------------------------

/** The project's own images that are ready; the one that orders without a choice get is told by availability. */
export async function listImageVersions(surface: Surface, request: FastifyRequest): Promise<readonly wire.ImageVersion[]> {
  const images = readyImages(await surface.engine.images.list(callerOf(request)))
  const regions = [...new Set(shapesOf(surface.catalogue).map(({ region }) => regionName(region)))]
  return images.map(image => ({
    image_version_fid: imageVersionFid(image),
    image_version_name: image.name,
    os: familyOf(image.name),
    kernel: 'linux',
    stable: true,
    supported_regions: regions,
    deactivated_at: null,
    nvidia_driver: null,
    cuda: null,
    cuda_toolkit: null,
    nvidia_container_toolkit: null,
    packages: null,
  }))
}

/** Those for managed Kubernetes: there are none. */
export async function listClusterImageVersions(_surface: Surface, request: FastifyRequest): Promise<readonly wire.ImageVersion[]> {
  callerOf(request)
  const query = queryFields(request)
  query.required.text('region')
  query.finish()
  return []
}

export async function defaultImageVersion(surface: Surface, caller: Identity): Promise<string | null> {
  const image = defaultMachineImage(readyImages(await surface.engine.images.list(caller)))
  return image === null ? null : imageVersionFid(image)
}

// --- API keys ---------------------------------------------------------------------------------------------------

export async function listApiKeys(surface: Surface, request: FastifyRequest): Promise<readonly wire.ApiKey[]> {
  const keys = await surface.engine.keys.list(callerOf(request))
  return keys.map(key => presentKey(surface, key))
}

/** The new key may do what the key that makes it may do. */
export async function createApiKey(surface: Surface, request: FastifyRequest): Promise<wire.ApiKey & { readonly secret: string }> {
  const caller = callerOf(request)
  const body = bodyFields(request)
  const name = body.required.text('name', { minLength: 1, limit: NAME_LIMIT_CHARACTERS })
  const expiresAt = body.required.time('expires_at')
  if (body.issues.length === 0 && expiresAt <= surface.now()) body.wrong('expires_at', 'it must be in the future')
  body.finish()
  const made = await surface.engine.keys.create(caller, { name, expiresAt, scopes: caller.scopes }).catch((error: unknown) => {
    throw asValidation(error, ['body', 'name'])
  })
  await surface.notes.setSnippet(made.key.id, made.secret.slice(0, SNIPPET_CHARACTERS))
  return { ...presentKey(surface, made.key), secret: `${KEY_PREFIX}${made.secret}` }
}

export async function deleteApiKey(surface: Surface, request: FastifyRequest): Promise<null> {
  const caller = callerOf(request)
  const id = parseId('key', DIALECT, pathId(request))
  // Of another project it is there for an operator; here each key is of its own project.
  const key = id === null ? undefined : (await surface.engine.keys.list(caller)).find(candidate => candidate.id === id)
  if (key === undefined) throw httpError(404, 'API key not found.')
  await surface.engine.keys.delete(caller, key.id)
  await surface.notes.setSnippet(key.id, null)
  return null
}

function presentKey(surface: Surface, key: ApiKey): wire.ApiKey {
  return {
    fid: spellId('key', DIALECT, key.id),
    name: key.name,
    created_at: formatTime(key.createdAt),
    expires_at: key.expiresAt === null ? NEVER : formatTime(key.expiresAt),
    deactivated_at: null,
    // Of a key that was made elsewhere nobody knows how it begins.
    snippet: `${KEY_PREFIX}${surface.notes.snippetOf(key.id) ?? '****'}...`,
  }
}

function roleOf(caller: Identity): string {
  return caller.scopes.includes('admin') ? 'ADMIN' : 'MEMBER'
}

function addressOf(name: string): string {
  const clean = name.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-').replaceAll(/^-+|-+$/g, '').slice(0, 64)
  return clean.replace(/-+$/, '') || 'project'
}
