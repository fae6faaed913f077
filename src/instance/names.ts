/** What names, tags and environments may be, and names for those who give none. Every rule has a limit. */
import { BerthError } from './errors.ts'
import { quoteGo } from './go-text.ts'

export const NAME_LIMIT_CHARACTERS = 63
export const TAG_LIMIT = 50
export const TAG_KEY_LIMIT_CHARACTERS = 128
export const TAG_VALUE_LIMIT_CHARACTERS = 256
export const LABEL_LIMIT_CHARACTERS = 255
export const ENV_LIMIT = 1024
/** Linux takes at most 128 KiB, with the closing zero, for one `KEY=value`. */
export const ENV_ENTRY_LIMIT_BYTES = 131_071
/** All of it together; Linux takes 2 MiB of arguments and environment with the default stack. */
export const ENV_TOTAL_LIMIT_BYTES = 1_048_576

const INSTANCE_NAME = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/
const HOSTNAME = /^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$/
const TAG_KEY = /^[A-Za-z0-9 _.:/=+@-]+$/
const TAG_VALUE = /^[A-Za-z0-9 _.:/=+@-]*$/
/** Control characters and lone surrogates have no place in a name. */
const NOT_A_LABEL = /[\p{Cc}\p{Cs}]/u

/** Throws `invalid_name` unless it can be the name of an instance. */
export function checkInstanceName(name: string): void {
  if (name.length > NAME_LIMIT_CHARACTERS) {
    throw new BerthError('invalid_name', `The name is ${name.length} characters long; at most ${NAME_LIMIT_CHARACTERS} are allowed.`)
  }
  if (!INSTANCE_NAME.test(name)) {
    throw new BerthError(
      'invalid_name',
      `${quoteGo(name)} is not a name: use lower-case letters, digits and dashes, with a letter or digit at both ends.`,
    )
  }
}

/** Throws `invalid_name` unless Linux takes it as a hostname. */
export function checkHostname(name: string): void {
  if (name.length <= NAME_LIMIT_CHARACTERS && HOSTNAME.test(name)) return
  throw new BerthError(
    'invalid_name',
    `${quoteGo(name)} is not a hostname: use at most ${NAME_LIMIT_CHARACTERS} letters, digits, dashes and dots.`,
  )
}

/** Throws `invalid_name` unless it can be the free-form name of a project, key or volume. */
export function checkLabel(what: string, name: string): void {
  const isFit = name.trim() !== '' && name.length <= LABEL_LIMIT_CHARACTERS && !NOT_A_LABEL.test(name)
  if (isFit) return
  throw new BerthError(
    'invalid_name',
    `${quoteGo(name)} is not a name for a ${what}: use 1 to ${LABEL_LIMIT_CHARACTERS} characters without control characters.`,
  )
}

/** Throws `invalid_request` unless they can be tags. */
export function checkTags(tags: Readonly<Record<string, string>>): void {
  const entries = Object.entries(tags)
  if (entries.length > TAG_LIMIT) {
    throw new BerthError('invalid_request', `There are ${entries.length} tags; at most ${TAG_LIMIT} are allowed.`)
  }
  for (const [key, value] of entries) {
    if (key.length > TAG_KEY_LIMIT_CHARACTERS || !TAG_KEY.test(key)) {
      throw new BerthError(
        'invalid_request',
        `${quoteGo(key)} is not a tag key: use 1 to ${TAG_KEY_LIMIT_CHARACTERS} letters, digits, spaces and _.:/=+@- characters.`,
      )
    }
    if (value.length > TAG_VALUE_LIMIT_CHARACTERS || !TAG_VALUE.test(value)) {
      throw new BerthError(
        'invalid_request',
        `The value of tag ${quoteGo(key)} must be at most ${TAG_VALUE_LIMIT_CHARACTERS} letters, digits, spaces and _.:/=+@- characters.`,
      )
    }
  }
}

/** Throws `invalid_request` unless a program can be given this environment. */
export function checkEnv(env: Readonly<Record<string, string>>): void {
  const entries = Object.entries(env)
  if (entries.length > ENV_LIMIT) {
    throw new BerthError('invalid_request', `There are ${entries.length} environment variables; at most ${ENV_LIMIT} are allowed.`)
  }
  let totalBytes = 0
  for (const [key, value] of entries) {
    if (key === '' || /[=\0]/.test(key) || !key.isWellFormed()) {
      throw new BerthError('invalid_request', `${quoteGo(key)} is not the name of an environment variable: it can't be empty or hold "=" or a zero byte.`)
    }
    if (value.includes('\0') || !value.isWellFormed()) {
      throw new BerthError('invalid_request', `The environment variable ${quoteGo(key)} can't hold a zero byte or broken Unicode.`)
    }
    const entryBytes = Buffer.byteLength(key) + 1 + Buffer.byteLength(value)
    if (entryBytes > ENV_ENTRY_LIMIT_BYTES) {
      throw new BerthError('invalid_request', `The environment variable ${quoteGo(key)} is longer than the ${ENV_ENTRY_LIMIT_BYTES} bytes that Linux takes.`)
    }
    totalBytes += entryBytes
  }
  if (totalBytes > ENV_TOTAL_LIMIT_BYTES) {
    throw new BerthError('invalid_request', `The environment has ${totalBytes} bytes; at most ${ENV_TOTAL_LIMIT_BYTES} are allowed.`)
  }
}

/**
 * A pleasant name from a random number in [0, 1): `quiet-harbor-4821`. 64 · 64 · 9000 of them, so that a
 * project rarely meets one twice; whoever calls tries again when it does.
 */
export function generateName(random: () => number): string {
  const pick = (words: readonly string[]) => words[Math.floor(random() * words.length)] ?? 'calm'
  return `${pick(QUALITIES)}-${pick(THINGS)}-${1000 + Math.floor(random() * 9000)}`
}

const QUALITIES: readonly string[] = (
  'able agile amber autumn azure bold brave breezy bright brisk bronze calm clear clever coastal copper coral crisp dapper daring ' +
  'dawn deep distant eager early easy fair fleet fresh gentle gilded glad golden grand green happy hardy hidden honest jolly keen ' +
  'kind lively lucky lunar mellow merry mild misty nimble noble northern open patient polar proud quick quiet silver steady sunny'
).split(' ')

const THINGS: readonly string[] = (
  'anchor atoll bay beacon bell boat bow breeze bridge buoy canal canoe cape cliff cloud cove creek current deck delta dinghy dock ' +
  'dolphin dune estuary ferry fjord galley gull harbor haven heron hull island jetty kayak keel ketch lagoon lantern lighthouse ' +
  'marina mast mooring oar ocean otter pearl pelican pier port quay reef river rudder sail schooner seal shell shore sloop strait ' +
  'tide wave'
).split(' ')
