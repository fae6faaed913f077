/**
 * API keys: 64 random characters of [A-Za-z0-9] (381 bits), told once and kept as their SHA-256. A slow password
 * hash would protect guessable secrets; these can't be guessed, so a plain hash is right and costs nothing per call.
 */
import { hash } from 'node:crypto'
import type { AuditTarget } from '../instance/audit.ts'
import { BerthError } from '../instance/errors.ts'
import { ID_BYTES, newId } from '../instance/ids.ts'
import { SCOPES, SURFACES } from '../instance/model.ts'
import type { ApiKey, KeyId, ProjectId, Scope, Surface } from '../instance/model.ts'
import { checkLabel } from '../instance/names.ts'
import { requireScope } from './access.ts'
import type { Caller, Keys, NewKey } from './api.ts'
import type { Core } from './core.ts'
import { administered } from './projects.ts'

export const SECRET_LENGTH = 64
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'
/** 4 × 62: bytes from here on would make the first letters likelier. */
const FAIR_BYTES = 248
/** A secret longer than this is nobody's. */
const SECRET_LIMIT_CHARACTERS = 512
const KEYS_PER_PROJECT_LIMIT = 1000
/** Secrets remembered at once. */
const CACHE_LIMIT = 10_000

interface Known {
  readonly key: ApiKey
  readonly until: number
}

export class KeyRing {
  readonly #core: Core
  readonly #known = new Map<string, Known>()
  readonly #touched = new Map<KeyId, number>()

  constructor(core: Core) {
    this.#core = core
  }

  readonly api: Keys = {
    create: (caller, request) => this.#create(caller, request),
    list: async caller => {
      requireScope(caller, 'admin')
      return this.#core.store.read.keys(caller.projectId)
    },
    delete: (caller, id) => this.#delete(caller, id),
    authenticate: (secret, via) => this.#authenticate(secret, via),
  }

  /**
   * The operator's first key. With a secret (`BERTH_ADMIN_KEY`) that key is made to exist; without one a key is made
   * only if there is none at all. Returns a secret that was made now, to be told once.
   */
  async ensureAdmin(projectId: ProjectId, secret: string | null): Promise<string | null> {
    if (secret !== null) {
      if (!/^[\x21-\x7e]{16,512}$/.test(secret)) {
        throw new BerthError('invalid_request', 'The admin key must have 16 to 512 visible ASCII characters: choose a longer one.')
      }
      if ((await this.#core.store.read.keyByHash(hashOf(secret))) === null) await this.#put(projectId, { name: 'admin', scopes: SCOPES, audience: null, expiresAt: null }, secret)
      return null
    }
    if ((await this.#core.store.read.keys(null)).length > 0) return null
    const made = makeSecret(this.#core)
    await this.#put(projectId, { name: 'admin', scopes: SCOPES, audience: null, expiresAt: null }, made)
    return made
  }

  async #create(caller: Caller, request: Parameters<Keys['create']>[1]): Promise<NewKey> {
    requireScope(caller, 'admin')
    checkLabel('key', request.name)
    const scopes = checkedScopes(request.scopes)
    const audience = checkedAudience(request.audience ?? null)
    const projectId = request.projectId ?? caller.projectId
    await administered(this.#core, caller, projectId)
    const expiresAt = request.expiresAt ?? null
    if (expiresAt !== null && !(expiresAt > this.#core.now())) {
      throw new BerthError('invalid_request', 'expiresAt must be in the future.', { details: { field: 'expiresAt' } })
    }
    if ((await this.#core.store.read.keys(projectId)).length >= KEYS_PER_PROJECT_LIMIT) {
      throw new BerthError('limit_exceeded', `The project has ${KEYS_PER_PROJECT_LIMIT} keys already: delete some.`)
    }
    const secret = makeSecret(this.#core)
    return { key: await this.#put(projectId, { name: request.name, scopes, audience, expiresAt }, secret, caller), secret }
  }

  async #put(projectId: ProjectId, what: Pick<ApiKey, 'name' | 'scopes' | 'audience' | 'expiresAt'>, secret: string, caller?: Caller): Promise<ApiKey> {
    const id = newId('key', this.#core.randomBytes(ID_BYTES))
    const { scopes, audience } = what
    const key: ApiKey = { id, projectId, ...what, createdAt: this.#core.now(), lastUsedAt: null }
    await this.#core.store.transaction(async tx => {
      await tx.putKey(key, hashOf(secret))
      if (caller !== undefined) await this.#core.audit.record(tx, caller, { action: 'key.create', target: keyTarget(key), details: { scopes, projectId, ...(audience === null ? {} : { audience }) } })
    })
    return key
  }

  async #delete(caller: Caller, id: KeyId): Promise<void> {
    requireScope(caller, 'admin')
    const key = (await this.#core.store.read.keys(null)).find(candidate => candidate.id === id)
    const notFound = new BerthError('not_found', `There is no key ${id}.`, { details: { keyId: id } })
    if (key === undefined) throw notFound
    await administered(this.#core, caller, key.projectId).catch((cause: unknown) => {
      throw new BerthError('not_found', notFound.message, { details: notFound.details, cause })
    })
    await this.#core.store.transaction(async tx => {
      await tx.deleteKey(id)
      await this.#core.audit.record(tx, caller, { action: 'key.delete', target: keyTarget(key), details: { projectId: key.projectId } })
    })
    for (const [hash, known] of this.#known) if (known.key.id === id) this.#known.delete(hash)
  }

  async #authenticate(secret: string, via: string): Promise<Caller | null> {
    if (secret === '' || secret.length > SECRET_LIMIT_CHARACTERS) return null
    const hashed = hashOf(secret)
    const key = await this.#find(hashed)
    if (key === null) return null
    const now = this.#core.now()
    if (key.expiresAt !== null && key.expiresAt <= now) return null
    if (key.audience !== null && !key.audience.some(surface => surface === via)) {
      throw new BerthError('unauthenticated', `This key is for ${key.audience.join(', ')} alone, and not for ${via}: use another one here.`)
    }
    this.#touch(key, hashed, now)
    return { projectId: key.projectId, keyId: key.id, scopes: key.scopes, via }
  }

  async #find(hash: string): Promise<ApiKey | null> {
    const now = this.#core.now()
    const known = this.#known.get(hash)
    if (known !== undefined && known.until > now) return known.key
    this.#known.delete(hash)
    const key = await this.#core.store.read.keyByHash(hash)
    if (key === null) return null
    if (this.#known.size >= CACHE_LIMIT) this.#known.clear()
    this.#known.set(hash, { key, until: now + this.#core.config.keyCacheMs })
    return key
  }

  /** Now and then writes when the key was last used; a failure there concerns nobody who waits. */
  #touch(key: ApiKey, hash: string, now: number): void {
    const last = this.#touched.get(key.id) ?? key.lastUsedAt ?? 0
    if (now - last < this.#core.config.keyTouchMs) return
    this.#touched.set(key.id, now)
    this.#core.store
      .transaction(async tx => {
        const current = await tx.keyByHash(hash)
        if (current !== null) await tx.putKey({ ...current, lastUsedAt: now }, hash)
      })
      .catch((error: unknown) => this.#core.logger.debug({ err: error, keyId: key.id }, 'the last use of a key could not be kept'))
  }
}

function keyTarget(key: ApiKey): AuditTarget {
  return { kind: 'key', id: key.id, name: key.name }
}

export function hashOf(secret: string): string {
  return hash('sha256', secret)
}

function makeSecret(core: Core): string {
  let secret = ''
  while (secret.length < SECRET_LENGTH) {
    for (const byte of core.randomBytes(SECRET_LENGTH)) {
      if (byte < FAIR_BYTES && secret.length < SECRET_LENGTH) secret += ALPHABET.charAt(byte % ALPHABET.length)
    }
  }
  return secret
}

function checkedScopes(scopes: readonly Scope[]): readonly Scope[] {
  const unknown = scopes.find(scope => !SCOPES.includes(scope))
  if (unknown !== undefined) throw new BerthError('invalid_request', `There is no scope "${unknown}": use ${SCOPES.join(', ')}.`)
  if (scopes.length === 0) throw new BerthError('invalid_request', `A key needs at least one scope of ${SCOPES.join(', ')}.`)
  return SCOPES.filter(scope => scopes.includes(scope))
}

function checkedAudience(audience: readonly Surface[] | null): readonly Surface[] | null {
  if (audience === null) return null
  const unknown = audience.find(surface => !SURFACES.includes(surface))
  if (unknown !== undefined) throw new BerthError('invalid_request', `There is no surface "${unknown}": use ${SURFACES.join(', ')}.`)
  if (audience.length === 0) throw new BerthError('invalid_request', `A key is for at least one of ${SURFACES.join(', ')}.`)
  return SURFACES.filter(surface => audience.includes(surface))
}
