/** Bodies of requests, checked: what Lambda's documentation says of each field, and what its clients send besides. */
import type { Json } from './body.ts'
import { asList, asObject, asTexts, optionalText, quoted, requiredText } from './body.ts'
import { fieldError } from './errors.ts'

export const NAME_LIMIT_CHARACTERS = 64
/** Ids that one restart or terminate takes. */
export const BATCH_LIMIT = 1000
const TAGS_LIMIT = 50
const LIST_LIMIT = 100
const TAG_KEY = /^[a-z][a-z0-9-:]+$/
const TAG_KEY_LIMIT_CHARACTERS = 55
const TAG_VALUE_LIMIT_CHARACTERS = 128
const HOSTNAME = /^[a-z0-9][0-9a-z-]{0,62}$/
const MOUNT_POINT = /^(\/home|\/lambda\/nfs|\/data)[/a-zA-Z0-9-]*$/
const MOUNT_POINT_LIMIT_CHARACTERS = 256

export type ImageChoice = { readonly id: string } | { readonly family: string }

export interface LaunchRequest {
  readonly region: string
  readonly type: string
  readonly sshKey: string
  readonly name: string | null
  readonly hostname: string | null
  readonly image: ImageChoice | null
  readonly userData: string | null
  readonly tags: Readonly<Record<string, string>>
  readonly fileSystemNames: readonly string[]
  readonly fileSystemMounts: readonly { readonly fileSystemId: string; readonly mountPoint: string }[]
  readonly firewallRulesetIds: readonly string[]
}

export function acceptLaunch(body: Json): LaunchRequest {
  const sshKeys = asTexts('ssh_key_names', body['ssh_key_names'], LIST_LIMIT)
  if (sshKeys.length !== 1) throw fieldError('ssh_key_names', `exactly one SSH key must be specified, not ${sshKeys.length}`)
  checkQuantity(body['quantity'])
  return {
    region: requiredText('region_name', body['region_name']),
    type: requiredText('instance_type_name', body['instance_type_name']),
    sshKey: sshKeys[0] ?? '',
    name: acceptName(body['name']),
    hostname: acceptHostname(body['hostname']),
    image: acceptImage(body['image']),
    userData: optionalText('user_data', body['user_data']),
    tags: acceptTags(body['tags']),
    fileSystemNames: asTexts('file_system_names', body['file_system_names'], LIST_LIMIT),
    fileSystemMounts: asList('file_system_mounts', body['file_system_mounts'], LIST_LIMIT).map(acceptMount),
    firewallRulesetIds: asList('firewall_rulesets', body['firewall_rulesets'], LIST_LIMIT).map((item, index) =>
      requiredText(`firewall_rulesets[${index}].id`, asObject(`firewall_rulesets[${index}]`, item)['id']),
    ),
  }
}

/** null says nothing, empty text takes the name away. */
export function acceptName(value: unknown): string | null {
  const name = optionalText('name', value)
  if (name === null) return null
  const length = Array.from(name).length
  if (length > NAME_LIMIT_CHARACTERS) throw fieldError('name', `it has ${length} characters; at most ${NAME_LIMIT_CHARACTERS} are allowed`)
  return name
}

export function acceptInstanceIds(body: Json): readonly string[] {
  const ids = asTexts('instance_ids', body['instance_ids'], BATCH_LIMIT)
  if (ids.length === 0) throw fieldError('instance_ids', 'at least one id is required')
  return [...new Set(ids)]
}

function checkQuantity(value: unknown): void {
  if (value === undefined || value === null) return
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 1) throw fieldError('quantity', 'it must be 1')
  if (value > 1) throw fieldError('quantity', 'Requested too many instances. It must be 1.')
}

function acceptHostname(value: unknown): string | null {
  const hostname = optionalText('hostname', value)
  if (hostname === null) return null
  if (HOSTNAME.test(hostname) && !hostname.endsWith('-')) return hostname
  throw fieldError('hostname', `${quoted(hostname)} is not a hostname: 1 to 63 lower-case letters, digits and dashes, the first and last no dash`)
}

function acceptImage(value: unknown): ImageChoice | null {
  if (value === undefined || value === null) return null
  const image = asObject('image', value)
  const id = optionalText('image.id', image['id'])
  const family = optionalText('image.family', image['family'])
  if (id !== null && family === null) return { id }
  if (family !== null && id === null) return { family }
  throw fieldError('image', 'it must have either id or family')
}

function acceptTags(value: unknown): Readonly<Record<string, string>> {
  const entries = asList('tags', value, TAGS_LIMIT).map((item, index) => {
    const field = `tags[${index}]`
    const tag = asObject(field, item)
    const key = requiredText(`${field}.key`, tag['key'])
    const text = requiredText(`${field}.value`, tag['value'])
    if (key.length > TAG_KEY_LIMIT_CHARACTERS || !TAG_KEY.test(key)) {
      throw fieldError(`${field}.key`, `${quoted(key)} is not a tag key: 2 to ${TAG_KEY_LIMIT_CHARACTERS} of a-z, 0-9, "-" and ":", a letter first`)
    }
    if (Array.from(text).length > TAG_VALUE_LIMIT_CHARACTERS) throw fieldError(`${field}.value`, `at most ${TAG_VALUE_LIMIT_CHARACTERS} characters are allowed`)
    return [key, text] as const
  })
  const keys = new Set(entries.map(([key]) => key))
  if (keys.size < entries.length) throw fieldError('tags', 'a key stands there twice')
  return Object.fromEntries(entries)
}

function acceptMount(item: unknown, index: number): LaunchRequest['fileSystemMounts'][number] {
  const field = `file_system_mounts[${index}]`
  const mount = asObject(field, item)
  const point = requiredText(`${field}.mount_point`, mount['mount_point'])
  if (point.length > MOUNT_POINT_LIMIT_CHARACTERS || !MOUNT_POINT.test(point)) {
    throw fieldError(`${field}.mount_point`, `${quoted(point)} is not a mount point: use a path below /home, /lambda/nfs or /data`)
  }
  // `/data//x/` is meant as `/data/x`.
  const mountPoint = point.replaceAll(/\/+/g, '/').replace(/\/$/, '')
  return { fileSystemId: requiredText(`${field}.file_system_id`, mount['file_system_id']), mountPoint }
}
