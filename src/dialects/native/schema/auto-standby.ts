/** The policy by which an instance goes to standby when nobody is connected to it. */
import { Type } from 'typebox'
import type { Static } from 'typebox'
import { Count, closed } from './words.ts'

const LONGEST_MS = 30 * 86_400_000
const IGNORED_LIMIT = 64

export const AutoStandbyRequest = Type.Object(
  {
    enabled: Type.Optional(Type.Boolean({ description: 'Default true. False keeps the policy and does nothing by it.' })),
    idleAfterMs: Count('Without a connection for this long it goes to standby.', 1000, LONGEST_MS),
    ignoreSources: Type.Optional(Type.Array(Type.String({ maxLength: 64 }), { maxItems: IGNORED_LIMIT, description: 'Networks (`10.0.0.0/8`) or addresses whose connections do not count.' })),
    ignorePorts: Type.Optional(Type.Array(Type.Integer({ minimum: 1, maximum: 65_535 }), { maxItems: IGNORED_LIMIT, description: 'Ports in the guest to which connections do not count.' })),
  },
  {
    description: 'Goes to standby once no TCP connection to it is open and no command runs in it, whichever port and address they came by. Nothing but a restore wakes it; health checks do not count.',
    ...closed,
  },
)
export type AutoStandbyRequest = Static<typeof AutoStandbyRequest>

export const AutoStandbyBody = Type.Object({
  enabled: Type.Boolean(),
  idleAfterMs: Type.Integer(),
  ignoreSources: Type.Array(Type.String()),
  ignorePorts: Type.Array(Type.Integer()),
})
export type AutoStandbyBody = Static<typeof AutoStandbyBody>
