/**
 * Secrets of a project: values that are written and never read again. An instance names them; when it starts, its host
 * gets their values as variables of the same names, or in the place of `{{ secret.NAME }}` in variables of other names.
 * A secret stays while an instance that lives, an order of the market, or a deployment of a service, names it.
 */
import type { ConfigFile } from '../instance/config-file.ts'
import { BerthError } from '../instance/errors.ts'
import { quoteGo } from '../instance/go-text.ts'
import { parseImageName } from '../instance/image-name.ts'
import type { Instance, InstanceSpec, ProjectId, RegistryLogin, Secret } from '../instance/model.ts'
import { ENV_ENTRY_LIMIT_BYTES, ENV_TOTAL_LIMIT_BYTES, checkEnv } from '../instance/names.ts'
import { requireScope } from './access.ts'
import type { Caller } from './api.ts'
import type { Core } from './core.ts'
import type { StoreReader, StoreTx } from './store-port.ts'

export const SECRETS_PER_PROJECT_LIMIT = 1000
export const SECRETS_PER_INSTANCE_LIMIT = 100
export const SECRET_LIMIT_BYTES = 64 * 1024
const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/
/** Of one that is a variable of its own name. */
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/
const REFERENCE = /\{\{\s*secret\.([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})\s*\}\}/g

type Naming = Partial<Pick<InstanceSpec, 'secrets' | 'secretEnv' | 'derivedEnv'>> & { readonly files?: readonly Pick<ConfigFile, 'content'>[] }

export interface Secrets {
  /**
   * Makes it, or replaces its value; instances get the new one with their next start. With `only` it must be new, or be
   * there. With `registry` the value is the password of that login; a secret stays what it is, one for variables or a login.
   */
  set(caller: Caller, name: string, value: string, only?: 'new' | 'known', registry?: RegistryLogin | null): Promise<Secret>
  /** By name; values are never told. */
  list(caller: Caller): Promise<readonly Secret[]>
  /** `volume_in_use` while an instance names it. */
  delete(caller: Caller, name: string): Promise<void>
}

export function makeSecrets(core: Core): Secrets {
  return {
    async set(caller, name, value, only, registry = null) {
      requireScope(caller, 'write')
      checkName(name)
      checkValue(name, value)
      return core.store.transaction(async tx => {
        const all = await tx.secrets(caller.projectId)
        const known = all.find(secret => secret.name === name)
        if (known === undefined && only === 'known') throw notFound(name)
        if (known !== undefined && only === 'new') throw new BerthError('name_conflict', `There is a secret ${name} already: choose another name, or change that one.`, { details: { field: 'name' } })
        if (known === undefined && all.length >= SECRETS_PER_PROJECT_LIMIT) {
          throw new BerthError('limit_exceeded', `The project has ${SECRETS_PER_PROJECT_LIMIT} secrets already: delete some.`)
        }
        if (known !== undefined && (known.registry === undefined) !== (registry === null)) {
          throw new BerthError('invalid_request', `The secret ${name} is ${registry === null ? 'the login of a registry' : 'a value for variables'}, and stays so: choose another name.`, { details: { field: 'name' } })
        }
        const now = core.now()
        const secret: Secret = { projectId: caller.projectId, name, ...(registry === null ? {} : { registry }), createdAt: known?.createdAt ?? now, updatedAt: now }
        await tx.putSecret(secret, value)
        await core.audit.record(tx, caller, { action: 'secret.set', target: { kind: 'secret', id: name, name } })
        return secret
      })
    },
    async list(caller) {
      requireScope(caller, 'read')
      return core.store.read.secrets(caller.projectId)
    },
    async delete(caller, name) {
      requireScope(caller, 'write')
      await core.store.transaction(async tx => {
        if (!(await tx.secrets(caller.projectId)).some(secret => secret.name === name)) throw notFound(name)
        await checkUnused(tx, caller.projectId, name)
        await tx.deleteSecret(caller.projectId, name)
        await core.audit.record(tx, caller, { action: 'secret.delete', target: { kind: 'secret', id: name, name } })
      })
    },
  }
}

/** The names of secrets in a text with references to them. */
export function referencesIn(text: string): readonly string[] {
  return [...text.matchAll(REFERENCE)].map(([, name = '']) => name)
}

/** The reference to a secret, as the value of a variable. */
export function referenceTo(name: string): string {
  return `{{ secret.${name} }}`
}

function namesIn({ secrets = [], secretEnv = {}, derivedEnv = {}, files = [] }: Naming): readonly string[] {
  const texts = [...Object.values(secretEnv), ...Object.values(derivedEnv), ...files.map(({ content }) => content)]
  return [...new Set([...secrets, ...texts.flatMap(referencesIn)])]
}

/** Throws `invalid_request` for names that the project does not have, or that are no variables where they have to be. */
export async function checkSecrets(reader: Pick<StoreReader, 'secrets'>, caller: Caller, naming: Naming): Promise<void> {
  const names = namesIn(naming)
  if (names.length === 0) return
  const odd = naming.secrets?.find(name => !VARIABLE.test(name) && NAME.test(name))
  if (odd !== undefined) throw new BerthError('invalid_request', `The secret ${odd} can not be a variable of that name: give it to one of another name.`, { details: { field: 'secrets' } })
  if (names.length > SECRETS_PER_INSTANCE_LIMIT) throw new BerthError('limit_exceeded', `An instance has at most ${SECRETS_PER_INSTANCE_LIMIT} secrets.`)
  const known = new Set((await reader.secrets(caller.projectId)).filter(({ registry }) => registry === undefined).map(({ name }) => name))
  const missing = names.find(name => !known.has(name))
  if (missing !== undefined) throw new BerthError('invalid_request', `There is no secret ${shown(missing)} in this project: make it first.`, { details: { field: 'secrets' } })
}

/**
 * What a secret that is the login of a registry opens there. Throws `not_found` if there is none of that name, and
 * `invalid_request` for an image of another registry: the password goes to its own alone.
 */
export async function registryCredentials(reader: Pick<StoreReader, 'secrets' | 'secretValues'>, projectId: ProjectId, name: string, image: string): Promise<{ readonly username: string; readonly password: string }> {
  const { registry = null } = (await reader.secrets(projectId)).find(secret => secret.name === name) ?? {}
  const password = (await reader.secretValues(projectId, [name]))[name]
  if (registry === null || password === undefined) throw new BerthError('not_found', `There is no secret ${shown(name)} that is the login of a registry: make it first.`)
  const { domain } = parseImageName(image)
  if (domain !== registry.host) throw new BerthError('invalid_request', `The secret ${name} is a login of ${registry.host}, and the image ${image} is of ${domain}.`, { details: { field: 'image' } })
  return { username: registry.username, password }
}

/** The variables that the secrets of an instance are. Throws `not_found` if one is gone: a fork may name it longer than its source. */
export async function secretVariables(reader: Pick<StoreReader, 'secretValues'>, instance: Pick<Instance, 'projectId'> & { readonly spec: Naming }): Promise<Readonly<Record<string, string>>> {
  const names = namesIn(instance.spec)
  if (names.length === 0) return {}
  const values = await reader.secretValues(instance.projectId, names)
  const missing = names.find(name => !Object.hasOwn(values, name))
  if (missing !== undefined) throw new BerthError('not_found', `The secret ${missing} of the instance is gone: make it again, or change its secrets.`)
  const { secrets = [], secretEnv = {} } = instance.spec
  checkSizes(instance.spec, values)
  const own = secrets.map(name => [name, values[name] ?? ''] as const)
  const others = Object.entries(secretEnv).map(([key, text]) => [key, text.replace(REFERENCE, (_, name: string) => values[name] ?? '')] as const)
  return Object.fromEntries([...own, ...others])
}

/** Before the values are put in: a text may name a large secret thousands of times. Throws `limit_exceeded`. */
function checkSizes({ secrets = [], secretEnv = {} }: Naming, values: Readonly<Record<string, string>>): void {
  const bytes = new Map(Object.entries(values).map(([name, value]) => [name, Buffer.byteLength(value)]))
  const sizeOf = (names: readonly string[]): number => names.reduce((sum, name) => sum + (bytes.get(name) ?? 0), 0)
  const variables = [...secrets.map(name => [name, sizeOf([name])] as const), ...Object.entries(secretEnv).map(([key, text]) => [key, Buffer.byteLength(text.replace(REFERENCE, '')) + sizeOf(referencesIn(text))] as const)]
  const sizes = variables.map(([key, valueBytes]) => [key, Buffer.byteLength(key) + 1 + valueBytes] as const)
  const tooLong = sizes.find(([, entryBytes]) => entryBytes > ENV_ENTRY_LIMIT_BYTES)
  if (tooLong !== undefined) throw new BerthError('limit_exceeded', `With its secrets the variable ${quoteGo(tooLong[0])} is longer than the ${ENV_ENTRY_LIMIT_BYTES} bytes that Linux takes: shorten them.`)
  const totalBytes = sizes.reduce((sum, [, entryBytes]) => sum + entryBytes, 0)
  if (totalBytes > ENV_TOTAL_LIMIT_BYTES) throw new BerthError('limit_exceeded', `The variables with secrets have ${totalBytes} bytes; at most ${ENV_TOTAL_LIMIT_BYTES} are allowed: shorten them.`)
}

/** Throws `volume_in_use` while an instance, an order or a deployment names it. */
async function checkUnused(tx: StoreTx, projectId: ProjectId, name: string): Promise<void> {
  const user = (await tx.instances({ projectId })).find(({ spec }) => namesIn(spec).includes(name))
  if (user !== undefined) {
    throw new BerthError('volume_in_use', `The instance ${user.spec.name} has the secret ${name}: delete it, or change its secrets, first.`, { details: { instanceId: user.id } })
  }
  const orders = [...(await tx.orders('bid', { projectId, liveOnly: true })), ...(await tx.orders('reservation', { projectId, liveOnly: true }))]
  const order = orders.find(({ launch }) => namesIn(launch.template).includes(name))
  if (order !== undefined) throw new BerthError('volume_in_use', `The ${order.kind} ${order.name} has the secret ${name}: end it first.`, { details: { orderId: order.id } })
  const deployments = await tx.serviceRecords('deployment', { projectId, liveOnly: true })
  const deployment = deployments.find(({ sets }) => sets.some(({ template }) => template.imageSecret === name || namesIn(template).includes(name)))
  if (deployment === undefined) return
  const service = await tx.serviceRecord('service', deployment.serviceId)
  throw new BerthError('volume_in_use', `The service ${service?.name ?? deployment.serviceId} has the secret ${name}: delete it, or change its variables, first.`)
}

function checkName(name: string): void {
  if (!NAME.test(name)) {
    throw new BerthError('invalid_request', `${shown(name)} is no name of a secret: use at most 128 letters, digits, underscores, dots and dashes, with a letter, a digit or an underscore first.`, { details: { field: 'name' } })
  }
}

/** No word of the value is in the refusal. */
function checkValue(name: string, value: string): void {
  const bytes = Buffer.byteLength(value)
  if (bytes > SECRET_LIMIT_BYTES) throw new BerthError('limit_exceeded', `The value has ${bytes} bytes; a secret has at most ${SECRET_LIMIT_BYTES}.`)
  checkEnv({ [name]: value })
}

function notFound(name: string): BerthError {
  return new BerthError('not_found', `There is no secret ${shown(name)} in this project.`)
}

/** What was given as a name may be a value by mistake. */
function shown(name: string): string {
  return NAME.test(name) ? name : 'of that name'
}
