/** Public keys that instances can be entered with. */
import { Type } from 'typebox'
import type { Static } from 'typebox'
import { Text, Time, closed, nullable } from './words.ts'

export const CreateSshKeyBody = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 128 }),
    publicKey: Type.Optional(Type.String({ minLength: 1, maxLength: 4096, description: 'One line as ssh-keygen writes it; without it a pair is made.' })),
  },
  closed,
)

export const SshKeyBody = Type.Object(
  { id: Type.String(), projectId: Type.String(), name: Text('Unique in the project.'), publicKey: Text('One line.'), createdAt: Time('When it was made.') },
  { $id: 'SshKey' },
)
export type SshKeyBody = Static<typeof SshKeyBody>

export const NewSshKeyBody = Type.Object({
  key: Type.Unsafe<SshKeyBody>(Type.Ref('SshKey#')),
  privateKey: nullable(Type.String(), 'PEM of a pair that was made, told only now; null if the public key was given.'),
})

export const SshKeyParams = Type.Object({ key: Type.String({ minLength: 1, description: 'Id or name of the SSH key.' }) })
