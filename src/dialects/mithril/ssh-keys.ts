/** SSH keys of a project. Those marked as required must stand in every order that comes through this API. */
import type { FastifyRequest } from 'fastify'
import { parseId, spellId } from '../../instance/ids.ts'
import type { SshKey, SshKeyId } from '../../instance/model.ts'
import type { Identity } from '../dialect.ts'
import { bodyFields, queryFields } from './body.ts'
import { asValidation, httpError } from './errors.ts'
import { keysOf } from './launch.ts'
import type * as wire from './schema.ts'
import type { Surface } from './surface.ts'
import { callerOf, checkProject, DIALECT, finishInProject, pathId } from './surface.ts'
import { formatTime } from './time.ts'
import { valueError } from './validation.ts'

const NAME_LIMIT_CHARACTERS = 255

export async function listSshKeys(surface: Surface, request: FastifyRequest): Promise<readonly wire.SshKey[]> {
  const caller = callerOf(request)
  finishInProject(queryFields(request), caller)
  return (await surface.engine.sshKeys.list(caller)).map(key => presentSshKey(surface, key))
}

export async function createSshKey(surface: Surface, request: FastifyRequest): Promise<wire.CreatedSshKey> {
  const caller = callerOf(request)
  const body = bodyFields(request)
  const project = body.required.text('project')
  const name = body.required.text('name', { minLength: 1, limit: NAME_LIMIT_CHARACTERS })
  const publicKey = body.text('public_key')
  const isRequired = body.flag('required') ?? false
  body.finish()
  checkProject(caller, project)
  if (isRequired) requireAdmin(caller)
  const made = await surface.engine.sshKeys.create(caller, { name, ...(publicKey === null ? {} : { publicKey }) }).catch((error: unknown) => {
    throw asValidation(error, ['body', publicKey !== null && isAboutKey(error) ? 'public_key' : 'name'])
  })
  if (isRequired) await surface.notes.setRequired(made.key.id, true)
  return { ...presentSshKey(surface, made.key), private_key: made.privateKey }
}

/** Only whether it is required can change. */
export async function updateSshKey(surface: Surface, request: FastifyRequest): Promise<wire.SshKey> {
  const caller = callerOf(request)
  const body = bodyFields(request)
  const isRequired = body.required.flag('required')
  body.finish()
  const key = await findKey(surface, caller, pathId(request))
  requireAdmin(caller)
  await surface.notes.setRequired(key.id, isRequired)
  return presentSshKey(surface, key)
}

export async function deleteSshKey(surface: Surface, request: FastifyRequest): Promise<null> {
  const caller = callerOf(request)
  const key = await findKey(surface, caller, pathId(request))
  const { market } = surface.engine
  const orders = [...(await market.bids(caller, { liveOnly: true })), ...(await market.reservations(caller, { liveOnly: true }))]
  const user = orders.find(order => keysOf(order).includes(key.id))
  if (user !== undefined) {
    throw valueError(['path', 'ssh_key_fid'], `the key is used by the ${user.kind} ${user.name.slice(0, 80)}, which has to end first`, pathId(request))
  }
  await surface.engine.sshKeys.delete(caller, key.id)
  await surface.notes.setRequired(key.id, false)
  return null
}

export function presentSshKey(surface: Surface, key: SshKey): wire.SshKey {
  return {
    fid: spellId('sshKey', DIALECT, key.id),
    name: key.name,
    project: spellId('project', DIALECT, key.projectId),
    public_key: key.publicKey,
    created_at: formatTime(key.createdAt),
    required: surface.notes.isRequired(key.id),
  }
}

async function findKey(surface: Surface, caller: Identity, fid: string): Promise<SshKey> {
  const id: SshKeyId | null = parseId('sshKey', DIALECT, fid)
  const key = id === null ? undefined : (await surface.engine.sshKeys.list(caller)).find(candidate => candidate.id === id)
  if (key === undefined) throw httpError(404, 'SSH key not found.')
  return key
}

function requireAdmin(caller: Identity): void {
  if (!caller.scopes.includes('admin')) throw httpError(403, 'Only an administrator of the project can say that a key is required.')
}

function isAboutKey(error: unknown): boolean {
  return error instanceof Error && /public key/.test(error.message)
}
