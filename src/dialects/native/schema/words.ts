/**
 * The words that the whole wire of `/berth/v1` is said in. This folder is the only truth of that wire:
 * validation, types, the OpenAPI document and docs/native-api.md all come from it.
 *
 * Conventions: camelCase; times are RFC3339 in UTC with milliseconds; sizes are integers in bytes and
 * spans integers in milliseconds, with the unit at the end of the name; what is unknown is `null`, and
 * every key of an answer is always there. Bodies refuse keys that they don't know, so that a typing
 * error is told and not ignored.
 */
import { Type } from 'typebox'
import type { TSchema } from 'typebox'
import { SCOPES } from '../../../instance/model.ts'
import { PHASES } from '../../../instance/phase.ts'

export const closed = { additionalProperties: false } as const

export function nullable<T extends TSchema>(schema: T, description?: string) {
  return Type.Union([schema, Type.Null()], description === undefined ? {} : { description })
}

export const Time = (description: string) => Type.String({ format: 'date-time', description })
export const Text = (description: string) => Type.String({ description })
export const Bytes = (description: string, minimum = 0) =>
  Type.Integer({ minimum, maximum: Number.MAX_SAFE_INTEGER, description })
export const Count = (description: string, minimum = 0, maximum = Number.MAX_SAFE_INTEGER) =>
  Type.Integer({ minimum, maximum, description })

export const PhaseSchema = Type.Enum(PHASES, { description: 'What the instance is doing now.' })
export const ScopeSchema = Type.Enum(SCOPES, { description: 'What a key may do.' })
export const ProtocolSchema = Type.Enum(['tcp', 'udp'])
export const VolumeModeSchema = Type.Enum(['rw', 'ro', 'overlay'], {
  description: '`rw`: exclusive. `ro`: shared, read-only. `overlay`: a shared base; writes are kept per instance.',
})

export const Tags = Type.Record(Type.String(), Type.String(), { description: 'Labels of your own.' })
export const Env = Type.Record(Type.String(), Type.String(), { description: 'Environment variables.' })
export const Argv = Type.Array(Type.String())
export const GuestPath = (description: string) =>
  Type.String({ pattern: '^/[^\\u0000]*$', maxLength: 4096, description })
