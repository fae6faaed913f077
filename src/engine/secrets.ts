/**
 * Secrets of a project: values that are written and never read again. An instance names them; when it starts, its host
 * gets their values as variables of the same names. A secret stays while an instance that lives names it.
 */
import { BerthError } from '../instance/errors.ts'
import type { Instance, InstanceSpec, Secret } from '../instance/model.ts'
import { checkEnv } from '../instance/names.ts'
import { requireScope } from './access.ts'
import type { Caller } from './api.ts'
import type { Core } from './core.ts'
import type { StoreReader } from './store-port.ts'

export const SECRETS_PER_PROJECT_LIMIT = 1000
export const SECRETS_PER_INSTANCE_LIMIT = 100
export const SECRET_LIMIT_BYTES = 64 * 1024
const NAME = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/

export interface Secrets {
  /** Makes it, or replaces its value; instances get the new one with their next start. */
  set(caller: Caller, name: string, value: string): Promise<Secret>
  /** By name; values are never told. */
  list(caller: Caller): Promise<readonly Secret[]>
  /** `volume_in_use` while an instance names it. */
  delete(caller: Caller, name: string): Promise<void>
}

export function makeSecrets(core: Core): Secrets {
  return {
    async set(caller, name, value) {
      requireScope(caller, 'write')
      checkName(name)
      checkValue(name, value)
      return core.store.transaction(async tx => {
        const all = await tx.secrets(caller.projectId)
        const known = all.find(secret => secret.name === name)
        if (known === undefined && all.length >= SECRETS_PER_PROJECT_LIMIT) {
          throw new BerthError('limit_exceeded', `The project has ${SECRETS_PER_PROJECT_LIMIT} secrets already: delete some.`)
        }
        const now = core.now()
        const secret: Secret = { projectId: caller.projectId, name, createdAt: known?.createdAt ?? now, updatedAt: now }
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
        const user = (await tx.instances({ projectId: caller.projectId })).find(({ spec }) => spec.secrets?.includes(name) === true)
        if (user !== undefined) {
          throw new BerthError('volume_in_use', `The instance ${user.spec.name} has the secret ${name}: delete it, or change its secrets, first.`, { details: { instanceId: user.id } })
        }
        await tx.deleteSecret(caller.projectId, name)
        await core.audit.record(tx, caller, { action: 'secret.delete', target: { kind: 'secret', id: name, name } })
      })
    },
  }
}

/** Throws `invalid_request` for names that the project does not have. */
export async function checkSecrets(reader: Pick<StoreReader, 'secrets'>, caller: Caller, names: readonly string[] | undefined): Promise<void> {
  if (names === undefined || names.length === 0) return
  if (names.length > SECRETS_PER_INSTANCE_LIMIT) throw new BerthError('limit_exceeded', `An instance has at most ${SECRETS_PER_INSTANCE_LIMIT} secrets.`)
  const known = new Set((await reader.secrets(caller.projectId)).map(({ name }) => name))
  const missing = names.find(name => !known.has(name))
  if (missing !== undefined) throw new BerthError('invalid_request', `There is no secret ${shown(missing)} in this project: make it first.`, { details: { field: 'secrets' } })
}

/** The variables that the secrets of an instance are. Throws `not_found` if one is gone: a fork may name it longer than its source. */
export async function secretVariables(reader: Pick<StoreReader, 'secretValues'>, instance: Pick<Instance, 'projectId'> & { readonly spec: Pick<InstanceSpec, 'secrets'> }): Promise<Readonly<Record<string, string>>> {
  const { secrets = [] } = instance.spec
  if (secrets.length === 0) return {}
  const values = await reader.secretValues(instance.projectId, secrets)
  const missing = secrets.find(name => !Object.hasOwn(values, name))
  if (missing !== undefined) throw new BerthError('not_found', `The secret ${missing} of the instance is gone: make it again, or change its secrets.`)
  return values
}

function checkName(name: string): void {
  if (!NAME.test(name)) {
    throw new BerthError('invalid_request', `${shown(name)} is no name of a secret: use at most 128 letters, digits and underscores, with no digit first.`, { details: { field: 'name' } })
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
