/** Secrets: values that are written and never read again. */
import { Type } from 'typebox'
import type { Static } from 'typebox'
import { Text, Time, closed } from './words.ts'

export const SetSecretBody = Type.Object({ value: Type.String({ maxLength: 65_536, description: 'At most 64 KiB; never told again.' }) }, closed)

export const SecretBody = Type.Object(
  { name: Text('Unique in the project; the variable has the same name.'), createdAt: Time('When it was made.'), updatedAt: Time('When its value was last set.') },
  { $id: 'Secret' },
)
export type SecretBody = Static<typeof SecretBody>

export const SecretParams = Type.Object({ secret: Type.String({ minLength: 1, maxLength: 256, description: 'Name of the secret.' }) })
