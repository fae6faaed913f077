/**
 * Secrets on the Koyeb wire: the project's own, whose values are written and never told again, for variables (SIMPLE) or
 * as the login of a registry (REGISTRY). Their ids follow from
 * their names. Variables of a definition refer to them by name, as `{"key": "A", "secret": "b"}` or as
 * `{{ secret.b }}` in a value.
 */
import type { FastifyRequest } from 'fastify'
import type { NewDeployment } from '../../engine/api.ts'
import { referencesIn } from '../../engine/secrets.ts'
import { BerthError } from '../../instance/errors.ts'
import { parseImageName } from '../../instance/image-name.ts'
import type { RegistryLogin, Secret } from '../../instance/model.ts'
import type { Identity } from '../dialect.ts'
import type { Json } from './body.ts'
import { asList, asObject, asText, readBody, requiredText } from './body.ts'
import { fieldError } from './errors.ts'
import { derivedId } from './ids.ts'
import { queryEnums, queryPaging, queryText, quoted } from './query.ts'
import { acceptLogin, presentLogin, REGISTRY_KEYS } from './registries.ts'
import type { Surface } from './surface.ts'
import { callerOf, pathParameter } from './surface.ts'
import { formatTime } from './timestamp.ts'

const TYPES = ['SIMPLE', 'REGISTRY', 'MANAGED'] as const
export async function listSecrets(surface: Surface, request: FastifyRequest): Promise<Json> {
  const { limit, offset } = queryPaging(request)
  const [name, types] = [queryText(request, 'name'), queryEnums(request, 'types', TYPES)]
  const all = (await surface.engine.secrets.list(callerOf(request))).filter(secret => name === null || secret.name === name)
  const wanted = all.filter(secret => types === null || types.includes(typeOf(secret)))
  return { secrets: wanted.slice(offset, offset + limit).map(presentSecret), limit, offset, count: wanted.length }
}

export async function getSecret(surface: Surface, request: FastifyRequest): Promise<Json> {
  return { secret: presentSecret(await find(surface, callerOf(request), pathParameter(request, 'id'))) }
}

export async function createSecret(surface: Surface, request: FastifyRequest): Promise<Json> {
  const body = readBody(request)
  const { value, login } = acceptSecret(body)
  return { secret: presentSecret(await surface.engine.secrets.set(callerOf(request), requiredText('name', body['name']), value, 'new', login)) }
}

/** PUT and PATCH: another value, or another login. */
export async function updateSecret(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const body = readBody(request)
  const secret = await find(surface, caller, pathParameter(request, 'id'))
  const { value, login } = acceptSecret(body)
  if ((login === null ? 'SIMPLE' : 'REGISTRY') !== typeOf(secret)) throw fieldError('type', `the secret is of the type ${typeOf(secret)}, and stays so`)
  const name = asText('name', body['name'])
  if (name !== '' && name !== secret.name) throw fieldError('name', 'the name of a secret does not change; make another one')
  return { secret: presentSecret(await surface.engine.secrets.set(caller, secret.name, value, 'known', login)) }
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
  if (sets.every(({ template: { secretEnv, derivedEnv, files, imageSecret } }) => [secretEnv, derivedEnv, files, imageSecret].every(part => part === undefined))) return
  const all = await surface.engine.secrets.list(caller)
  const known = new Set(all.filter(secret => typeOf(secret) === 'SIMPLE').map(({ name }) => name))
  const given = asObject('definition', definition)
  const { image = '', imageSecret } = sets[0]?.template ?? {}
  if (imageSecret !== undefined) checkLogin(all.find(({ name }) => name === imageSecret), imageSecret, image)
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

function checkLogin(secret: Secret | undefined, name: string, image: string): void {
  const field = 'definition.docker.image_registry_secret'
  if (secret?.registry === undefined || secret.registry === null) throw fieldError(field, `there is no secret ${quoted(name)} of the type REGISTRY; make it first`)
  const { domain } = parseImageName(image)
  if (domain !== secret.registry.host) throw fieldError(field, `${quoted(name)} is a login of ${secret.registry.host}, and the image is of ${domain}`)
}

async function find(surface: Surface, caller: Identity, id: string): Promise<Secret> {
  const secret = (await surface.engine.secrets.list(caller)).find(one => idOf(one) === id)
  if (secret === undefined) throw new BerthError('not_found', 'There is no such secret.')
  return secret
}

function acceptSecret(body: Json): { readonly value: string; readonly login: RegistryLogin | null } {
  const type = asText('type', body['type'])
  if (type !== '' && type !== 'SIMPLE' && type !== 'REGISTRY') throw fieldError('type', 'choose from SIMPLE, REGISTRY')
  const accepted = acceptLogin(body)
  if (accepted !== null) {
    if (type === 'SIMPLE') throw fieldError(accepted.login.kind, 'it belongs to a secret of the type REGISTRY')
    if (asText('value', body['value']) !== '') throw fieldError('value', 'a secret of the type REGISTRY has a login instead')
    return { value: accepted.password, login: accepted.login }
  }
  if (type === 'REGISTRY') throw fieldError('type', `of this type it needs one of ${REGISTRY_KEYS.join(', ')}`)
  return { value: requiredText('value', body['value']), login: null }
}

function typeOf({ registry }: Pick<Secret, 'registry'>): 'SIMPLE' | 'REGISTRY' {
  return registry === undefined || registry === null ? 'SIMPLE' : 'REGISTRY'
}

/** How many of each type there are; a type without any is left out. */
export function secretsByType(secrets: readonly Secret[]): Json {
  return Object.fromEntries([...Map.groupBy(secrets, typeOf)].map(([type, some]) => [type, String(some.length)]))
}

function idOf({ projectId, name }: Pick<Secret, 'projectId' | 'name'>): string {
  return derivedId(`koyeb:secret:${projectId}:${name}`)
}

function presentSecret(secret: Secret): Json {
  const { projectId, name, createdAt, updatedAt } = secret
  return { id: idOf(secret), name, organization_id: projectId, project_id: projectId, type: typeOf(secret), ...presentLogin(secret), value: '', created_at: formatTime(createdAt), updated_at: formatTime(updatedAt) }
}
