/** Events, and the query that lists and watches them. */
import { Type } from 'typebox'
import type { Static } from 'typebox'
import { PHASES } from '../../../instance/phase.ts'
import { pageProperties } from './page.ts'
import { Time, closed, nullable } from './words.ts'

export const EventBody = Type.Object(
  {
    seq: Type.Integer({ description: 'Grows with every event of the installation; the cursor of watching.' }),
    instanceId: Type.String(),
    at: Time('When it happened.'),
    kind: Type.Enum(['phase', 'note'], { description: '`phase` is a step; `note` changes no phase.' }),
    from: nullable(Type.Enum(PHASES)),
    to: Type.Enum(PHASES),
    reason: nullable(Type.String()),
  },
  { $id: 'Event' },
)
export type EventBody = Static<typeof EventBody>

export const EventsQuery = Type.Object(
  {
    instance: Type.Optional(Type.Array(Type.String({ minLength: 1 }), { maxItems: 64, description: 'May be given several times.' })),
    kind: Type.Optional(Type.Enum(['phase', 'note'])),
    after: Type.Optional(Type.Integer({ minimum: 0, description: 'Events after this `seq`.' })),
    order: Type.Optional(Type.Enum(['oldest-first', 'newest-first'], { description: 'Of the list; default `oldest-first`.' })),
    ...pageProperties,
  },
  closed,
)
