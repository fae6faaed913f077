/** SSH keys: uploaded, or made here; the private part of one made here is in one answer and nowhere else. */
import type { FastifyRequest } from 'fastify'
import { BerthError } from '../../instance/errors.ts'
import { parseId } from '../../instance/ids.ts'
import { optionalText, readBody, requiredText } from './body.ts'
import { fieldError } from './errors.ts'
import { presentSshKey } from './present.ts'
import type * as wire from './schema.ts'
import type { Surface } from './surface.ts'
import { callerOf, DIALECT, pathId } from './surface.ts'

const NAME_LIMIT_CHARACTERS = 64

export async function listSshKeys(surface: Surface, request: FastifyRequest): Promise<readonly wire.SshKey[]> {
  return (await surface.engine.sshKeys.list(callerOf(request))).map(key => presentSshKey(key))
}

export async function addSshKey(surface: Surface, request: FastifyRequest): Promise<wire.SshKey> {
  const caller = callerOf(request)
  const body = readBody(request)
  const name = requiredText('name', body['name'])
  const length = Array.from(name).length
  if (length < 1 || length > NAME_LIMIT_CHARACTERS) throw fieldError('name', `it has ${length} characters; 1 to ${NAME_LIMIT_CHARACTERS} are allowed`)
  const publicKey = optionalText('public_key', body['public_key'])
  try {
    const { key, privateKey } = await surface.engine.sshKeys.create(caller, { name, ...(publicKey === null ? {} : { publicKey }) })
    return presentSshKey(key, privateKey)
  } catch (error) {
    // A client takes exactly these words for "it is there already".
    if (error instanceof BerthError && error.code === 'name_conflict') throw fieldError('name', 'SSH key name must be unique', 'Choose another name, or use the key that there is.')
    throw error
  }
}

export async function deleteSshKey(surface: Surface, request: FastifyRequest): Promise<Readonly<Record<string, never>>> {
  const caller = callerOf(request)
  const id = parseId('sshKey', DIALECT, pathId(request))
  if (id === null) throw new BerthError('not_found', 'The requested resource was not found: there is no SSH key of this id.')
  await surface.engine.sshKeys.delete(caller, id)
  return {}
}
