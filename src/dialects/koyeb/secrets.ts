/**
 * Secrets on the Koyeb wire: the project's own, whose values are written and never told again. Their ids follow from
 * their names. Variables of a definition refer to them by name, as `{"key": "A", "secret": "b"}` or as
 * `{{ secret.b }}` in a value.
 */
import type { FastifyRequest } from 'fastify'
import type { NewDeployment } from '../../engine/api.ts'
import { referencesIn } from '../../engine/secrets.ts'
import { BerthError } from '../../instance/errors.ts'
import type { Secret } from '../../instance/model.ts'
import type { Identity } from '../dialect.ts'
import type { Json } from './body.ts'
import { asList, asObject, asText, readBody, requiredText } from './body.ts'
import { fieldError } from './errors.ts'
import { derivedId } from './ids.ts'
import { queryEnums, queryPaging, queryText, quoted } from './query.ts'
import type { Surface } from './surface.ts'
import { callerOf, pathParameter } from './surface.ts'
import { formatTime } from './timestamp.ts'

const TYPES = ['SIMPLE', 'REGISTRY', 'MANAGED'] as const
/** Each is a way to log in to a registry, and makes a secret of the type REGISTRY. */
const REGISTRIES = ['docker_hub_registry', 'private_registry', 'digital_ocean_registry', 'github_registry', 'gitlab_registry', 'gcp_container_registry', 'azure_container_registry']

export async function listSecrets(surface: Surface, request: FastifyRequest): Promise<Json> {
  const { limit, offset } = queryPaging(request)
  const [name, types] = [queryText(request, 'name'), queryEnums(request, 'types', TYPES)]
  const all = (await surface.engine.secrets.list(callerOf(request))).filter(secret => name === null || secret.name === name)
  const wanted = types === null || types.includes('SIMPLE') ? all : []
  return { secrets: wanted.slice(offset, offset + limit).map(presentSecret), limit, offset, count: wanted.length }
}

export async function getSecret(surface: Surface, request: FastifyRequest): Promise<Json> {
  return { secret: presentSecret(await find(surface, callerOf(request), pathParameter(request, 'id'))) }
}

export async function createSecret(surface: Surface, request: FastifyRequest): Promise<Json> {
  const body = readBody(request)
  refuseRegistry(body)
  return { secret: presentSecret(await surface.engine.secrets.set(callerOf(request), requiredText('name', body['name']), requiredText('value', body['value']), 'new')) }
}

/** PUT and PATCH: another value. */
export async function updateSecret(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const body = readBody(request)
  refuseRegistry(body)
  const secret = await find(surface, caller, pathParameter(request, 'id'))
  const name = asText('name', body['name'])
  if (name !== '' && name !== secret.name) throw fieldError('name', 'the name of a secret does not change; make another one')
  return { secret: presentSecret(await surface.engine.secrets.set(caller, secret.name, requiredText('value', body['value']), 'known')) }
}

export async function deleteSecret(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  await surface.engine.secrets.delete(caller, (await find(surface, caller, pathParameter(request, 'id'))).name)
  return {}
}

export async function revealSecret(surface: Surface, request: FastifyRequest): Promise<never> {
  await find(surface, callerOf(request), pathParameter(request, 'id'))
  throw new BerthError('forbidden', 'Values of secrets are never told: set another one where this one is lost.')
}

/** Throws unless the project has every secret that the variables and files of a definition name. */
export async function requireSecrets(surface: Surface, caller: Identity, { sets }: NewDeployment, definition: unknown): Promise<void> {
  if (sets.every(({ template: { secretEnv, derivedEnv, files } }) => secretEnv === undefined && derivedEnv === undefined && files === undefined)) return
  const known = new Set((await surface.engine.secrets.list(caller)).map(({ name }) => name))
  const given = asObject('definition', definition)
  for (const [index, item] of asList('definition.config_files', given['config_files']).entries()) {
    const content = asText('definition.config_files.content', asObject('definition.config_files', item)['content'])
    const missing = referencesIn(content).find(name => !known.has(name))
    if (missing !== undefined) throw fieldError(`definition.config_files[${index}].content`, `there is no secret ${quoted(missing)}; make it first`)
  }
  for (const [index, item] of asList('definition.env', given['env']).entries()) {
    const entry = asObject('definition.env', item)
    const [secret, value] = [asText('definition.env.secret', entry['secret']), asText('definition.env.value', entry['value'])]
    for (const [field, names] of [['secret', secret === '' ? [] : [secret]], ['value', referencesIn(value)]] as const) {
      const missing = names.find(name => !known.has(name))
      if (missing !== undefined) throw fieldError(`definition.env[${index}].${field}`, `there is no secret ${quoted(missing)}; make it first`)
    }
  }
}

async function find(surface: Surface, caller: Identity, id: string): Promise<Secret> {
  const secret = (await surface.engine.secrets.list(caller)).find(one => idOf(one) === id)
  if (secret === undefined) throw new BerthError('not_found', 'There is no such secret.')
  return secret
}

function refuseRegistry(body: Json): void {
  const type = asText('type', body['type'])
  if (type !== '' && type !== 'SIMPLE') throw fieldError('type', 'only SIMPLE is supported; pull private images with their credentials first')
  const registry = REGISTRIES.find(key => body[key] !== undefined)
  if (registry !== undefined) throw fieldError(registry, 'it is not supported; pull private images with their credentials first')
}

function idOf({ projectId, name }: Pick<Secret, 'projectId' | 'name'>): string {
  return derivedId(`koyeb:secret:${projectId}:${name}`)
}

function presentSecret(secret: Secret): Json {
  const { projectId, name, createdAt, updatedAt } = secret
  return { id: idOf(secret), name, organization_id: projectId, project_id: projectId, type: 'SIMPLE', value: '', created_at: formatTime(createdAt), updated_at: formatTime(updatedAt) }
}
