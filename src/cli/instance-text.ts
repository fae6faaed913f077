/** How instances are written for people: short ids, and one line on how one ended. */
import type { InstanceBody } from '../dialects/native/schema/instances.ts'

const SHORT_ID_CHARACTERS = 13

/** The beginning of an id, long enough to be one of a kind and short enough to read: `2f4b1f0a-6c1c`. */
export function shortId(id: string): string {
  return id.slice(0, SHORT_ID_CHARACTERS)
}

/** Why an instance is not what was hoped for, as part of a sentence. */
export function whyText({ phase, reason, exit }: InstanceBody): string {
  if (reason !== null) return `${phase}: ${reason}`
  if (exit !== null) return `${phase}, exit status ${exit.code}${exit.message === '' || exit.message === 'exited' ? '' : ` (${exit.message})`}`
  return phase
}
