/** SSH keys of a project: uploaded, or made here with a private part that is told once and kept nowhere. */
import { BerthError } from '../instance/errors.ts'
import { ID_BYTES, newId } from '../instance/ids.ts'
import type { SshKey } from '../instance/model.ts'
import { checkLabel } from '../instance/names.ts'
import { checkedPublicKey, makeKeyPair } from '../instance/ssh-key.ts'
import { requireScope } from './access.ts'
import type { SshKeys } from './api.ts'
import type { Core } from './core.ts'

export const SSH_KEYS_PER_PROJECT_LIMIT = 1000

export function makeSshKeys(core: Core): SshKeys {
  return {
    async create(caller, request) {
      requireScope(caller, 'write')
      const { name } = request
      checkLabel('SSH key', name)
      const given = request.publicKey === undefined ? null : checkedPublicKey(request.publicKey)
      const made = given === null ? await makeKeyPair(name) : null
      const key: SshKey = {
        id: newId('sshKey', core.randomBytes(ID_BYTES)),
        projectId: caller.projectId,
        name,
        publicKey: made?.publicKey ?? given ?? '',
        createdAt: core.now(),
      }
      await core.store.transaction(async tx => {
        const all = await tx.sshKeys(caller.projectId)
        if (all.some(other => other.name === name)) {
          throw new BerthError('name_conflict', `There is already an SSH key named ${name}: choose another name.`, { details: { name } })
        }
        if (all.length >= SSH_KEYS_PER_PROJECT_LIMIT) {
          throw new BerthError('limit_exceeded', `The project has ${SSH_KEYS_PER_PROJECT_LIMIT} SSH keys already: delete some.`)
        }
        await tx.insertSshKey(key)
        await core.audit.record(tx, caller, { action: 'ssh-key.create', target: { kind: 'ssh-key', id: key.id, name } })
      })
      return { key, privateKey: made?.privateKey ?? null }
    },

    async list(caller) {
      requireScope(caller, 'read')
      return core.store.read.sshKeys(caller.projectId)
    },

    async delete(caller, id) {
      requireScope(caller, 'write')
      await core.store.transaction(async tx => {
        const known = (await tx.sshKeys(caller.projectId)).find(key => key.id === id)
        if (known === undefined) throw new BerthError('not_found', `There is no SSH key ${id}.`, { details: { sshKeyId: id } })
        await tx.deleteSshKey(id)
        await core.audit.record(tx, caller, { action: 'ssh-key.delete', target: { kind: 'ssh-key', id, name: known.name } })
      })
    },
  }
}
