/** Keys, projects, and who the caller is. */
import { Type } from 'typebox'
import type { Static } from 'typebox'
import { SCOPES, SURFACES } from '../../../instance/model.ts'
import { ScopeSchema, Text, Time, closed, nullable } from './words.ts'

export const CreateKeyBody = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 128 }),
    scopes: Type.Array(ScopeSchema, { minItems: 1, maxItems: SCOPES.length, uniqueItems: true }),
    audience: Type.Optional(nullable(Type.Array(Type.Enum(SURFACES), { minItems: 1, maxItems: SURFACES.length, uniqueItems: true }), 'The only surfaces that take it, like `mcp`; null is all.')),
    projectId: Type.Optional(Type.String({ minLength: 1, maxLength: 128, description: "Another project than the caller's." })),
    expiresAt: Type.Optional(Type.String({ maxLength: 64, description: 'RFC3339; refused from then on.' })),
  },
  closed,
)

export const KeyBody = Type.Object(
  {
    id: Type.String(),
    projectId: Type.String(),
    name: Type.String(),
    scopes: Type.Array(ScopeSchema),
    audience: nullable(Type.Array(Type.Enum(SURFACES)), 'The only surfaces that take it; null is all.'),
    createdAt: Time('When it was made.'),
    lastUsedAt: nullable(Type.String({ format: 'date-time' })),
    expiresAt: nullable(Type.String({ format: 'date-time' })),
  },
  { $id: 'Key' },
)
export type KeyBody = Static<typeof KeyBody>

export const NewKeyBody = Type.Object({
  key: Type.Unsafe<KeyBody>(Type.Ref('Key#')),
  secret: Text('The key itself: 64 characters, told only now.'),
})

export const CreateProjectBody = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 128 }),
    guestToGuest: Type.Optional(Type.Boolean({ description: 'Whether its instances may reach each other. Default false.' })),
  },
  closed,
)
export const UpdateProjectBody = Type.Object(
  { name: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })), guestToGuest: Type.Optional(Type.Boolean()) },
  { minProperties: 1, ...closed },
)

export const ProjectBody = Type.Object(
  { id: Type.String(), name: Type.String(), guestToGuest: Type.Boolean(), createdAt: Time('When it was made.') },
  { $id: 'Project' },
)
export type ProjectBody = Static<typeof ProjectBody>

export const WhoamiBody = Type.Object({
  projectId: Type.String(),
  projectName: nullable(Type.String()),
  keyId: nullable(Type.String()),
  scopes: Type.Array(ScopeSchema),
})

export const KeyParams = Type.Object({ key: Type.String({ minLength: 1, description: 'Id or name of the key.' }) })
export const ProjectParams = Type.Object({ project: Type.String({ minLength: 1, description: 'Id or name of the project.' }) })
