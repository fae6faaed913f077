/** Health checks of an instance: what is asked of its application, and how often. */
import { Type } from 'typebox'
import type { Static } from 'typebox'
import { Count, GuestPath, closed, nullable } from './words.ts'

const LONGEST_MS = 30 * 86_400_000
const MILLION = 1_000_000

const Port = Count('Port in the guest.', 1, 65_535)
const TcpProbe = Type.Object({ port: Port }, { description: 'Passes when the port takes a connection.', ...closed })
const HttpProbe = Type.Object(
  {
    port: Port,
    path: Type.Optional(Type.String({ pattern: '^/[\\x21-\\x7e]*$', maxLength: 2048, description: 'Default `/`.' })),
    scheme: Type.Optional(Type.Enum(['http', 'https'], { description: 'Default `http`. No certificate is judged.' })),
    method: Type.Optional(Type.Enum(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE'], { description: 'Default `GET`.' })),
    headers: Type.Optional(
      Type.Record(Type.String({ pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$" }), Type.String({ pattern: '^[\\t\\x20-\\x7e]*$', maxLength: 2048 }), { maxProperties: 32, ...closed }),
    ),
    expectedStatus: Type.Optional(nullable(Count('', 100, 599), 'null is any from 200 to 399.')),
  },
  { description: 'Passes when the answer has the expected status.', ...closed },
)
const ExecProbe = Type.Object(
  {
    command: Type.Array(Type.String({ maxLength: 65_536 }), { minItems: 1, maxItems: 1024 }),
    workingDir: Type.Optional(nullable(GuestPath('Working directory.'))),
  },
  { description: 'Passes when the command, run in the guest, ends with status 0.', ...closed },
)

export const HealthCheckRequest = Type.Object(
  {
    tcp: Type.Optional(TcpProbe),
    http: Type.Optional(HttpProbe),
    exec: Type.Optional(ExecProbe),
    intervalMs: Type.Optional(Count('Between two checks. Default 10 s.', 100, LONGEST_MS)),
    timeoutMs: Type.Optional(Count('Default 2 s.', 100, LONGEST_MS)),
    graceMs: Type.Optional(Count('Failures this soon after a start are not counted. Default 30 s.', 0, LONGEST_MS)),
    unhealthyAfter: Type.Optional(Count('Failures in a row that make it unhealthy. Default 3.', 1, MILLION)),
    healthyAfter: Type.Optional(Count('Passes in a row that make it healthy again. Default 1.', 1, MILLION)),
    restartAfter: Type.Optional(
      nullable(Count('', 1, MILLION), 'Failures in a row after which its restart policy restarts it; null is never. Default as `unhealthyAfter`.'),
    ),
  },
  { description: 'One of `tcp`, `http` and `exec`.', ...closed },
)
export type HealthCheckRequest = Static<typeof HealthCheckRequest>

export const HealthChecksRequest = Type.Array(HealthCheckRequest, { maxItems: 16, description: 'What is asked of its application; it is healthy while all pass. Empty: none.' })

export const HealthCheckBody = Type.Object({
  tcp: nullable(Type.Object({ port: Type.Integer() })),
  http: nullable(
    Type.Object({
      port: Type.Integer(),
      path: Type.String(),
      scheme: Type.Enum(['http', 'https']),
      method: Type.String(),
      headers: Type.Record(Type.String(), Type.String()),
      expectedStatus: nullable(Type.Integer(), 'null is any from 200 to 399.'),
    }),
  ),
  exec: nullable(Type.Object({ command: Type.Array(Type.String()), workingDir: nullable(Type.String()) })),
  intervalMs: Type.Integer(),
  timeoutMs: Type.Integer(),
  graceMs: Type.Integer(),
  unhealthyAfter: Type.Integer(),
  healthyAfter: Type.Integer(),
  restartAfter: nullable(Type.Integer()),
})
export type HealthCheckBody = Static<typeof HealthCheckBody>
