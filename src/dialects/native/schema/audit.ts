/** The audit trail: who did what, and how it ended. */
import { Type } from 'typebox'
import type { Static } from 'typebox'
import { pageProperties } from './page.ts'
import { Text, Time, closed, nullable } from './words.ts'

export const AuditBody = Type.Object(
  {
    seq: Type.Integer({ description: 'Grows with each line of the installation.' }),
    at: Time('When it was asked for.'),
    keyId: nullable(Type.String(), 'The key that asked; null is a token (`details` names its `subject` and `client`), or Berth itself (the replicas of a service).'),
    via: Text('The surface: `native`, `hypeman`, `koyeb`, `lambda`, `mithril`, `mcp`.'),
    operation: nullable(Type.String(), 'What the surface calls it, where that tells more: the tool of MCP.'),
    action: Text('`instance.create`, `instance.exec`, `key.delete` and so on.'),
    target: Type.Object({
      kind: Text('`instance`, `image`, `volume`, `key`, `ssh-key`, `project`, `app`, `service`, `deployment`.'),
      id: nullable(Type.String()),
      name: nullable(Type.String()),
    }),
    outcome: Text('`ok`: done, or taken in hand. Otherwise the code of the error that refused it.'),
    details: Type.Record(Type.String(), Type.Unknown(), {
      description: 'What else there is to say: the beginning of a command (`argv`) and its `exitCode`, the path of a copy. Never an environment or a secret.',
    }),
  },
  { $id: 'AuditLine' },
)
export type AuditBody = Static<typeof AuditBody>

const Word = (description: string) => Type.String({ minLength: 1, maxLength: 256, description })

export const AuditQuery = Type.Object(
  {
    from: Type.Optional(Type.String({ maxLength: 64, description: 'RFC3339: from this time on.' })),
    until: Type.Optional(Type.String({ maxLength: 64, description: 'RFC3339: before this time.' })),
    key: Type.Optional(Word('Only what this key asked for: its id.')),
    kind: Type.Optional(Word('Only targets of this kind.')),
    target: Type.Optional(Word('Only this target: its id. An instance also by its name, or as any dialect spells its id.')),
    action: Type.Optional(Word('Only this action.')),
    ...pageProperties,
  },
  closed,
)
