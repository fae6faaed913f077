/**
 * One identity, four spellings: every id is a UUID v4 (122 free bits), and each dialect writes those
 * bits its own way. The codec is a bijection, so no table of aliases exists anywhere.
 *
 *   native, koyeb   2f4b1f0a-6c1c-4c0e-9b42-0a6c3b7f7c11    the UUID, lower-case
 *   lambda          2f4b1f0a6c1c4c0e9b420a6c3b7f7c11        the same digits without dashes
 *   mithril         inst_ + 21 digits of base 62            least significant first
 *   hypeman         ^[a-z][0-9a-z]{23}$                     one digit of base 26, then 23 of base 36,
 *                                                           least significant first
 *
 * Least significant first puts the randomness at the front, where clients abbreviate: two random ids
 * differ in their first character as often as two random characters do.
 *
 * Parsing is exact: whatever is not the one spelling of a UUID v4 is null.
 */
import type { BidId, FileSystemId, FirewallRulesetId, InstanceId, KeyId, ProjectId, ReservationId, SnapshotId, SshKeyId, VolumeId } from './model.ts'

export type IdDialect = 'native' | 'koyeb' | 'lambda' | 'mithril' | 'hypeman'

/** What has an id, and the type of that id. */
export interface IdKinds {
  readonly instance: InstanceId
  readonly project: ProjectId
  readonly volume: VolumeId
  readonly key: KeyId
  readonly sshKey: SshKeyId
  readonly fileSystem: FileSystemId
  readonly firewallRuleset: FirewallRulesetId
  readonly bid: BidId
  readonly reservation: ReservationId
  readonly snapshot: SnapshotId
}
export type IdKind = keyof IdKinds

/** Random bytes that an id is made of. */
export const ID_BYTES = 16

const MITHRIL_PREFIX: Readonly<Record<IdKind, string>> = {
  instance: 'inst_',
  project: 'proj_',
  volume: 'vol_',
  key: 'apikey_',
  sshKey: 'sshkey_',
  fileSystem: 'fs_',
  firewallRuleset: 'fw_',
  bid: 'bid_',
  reservation: 'res_',
  snapshot: 'snap_',
}

const UUID_V4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const HEX_V4 = /^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}$/
const HYPEMAN = /^[a-z][0-9a-z]{23}$/

const FREE_BITS = 122n
const LIMIT = 1n << FREE_BITS
const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
/** 62^20 < 2^122 < 62^21 */
const BASE62_DIGITS = 21
/** 26·36^22 < 2^122 < 26·36^23 */
const BASE36_DIGITS = 23
const LETTER_A = 97

/** A new id of a kind from 16 random bytes; the caller brings the randomness. */
export function newId<K extends IdKind>(_kind: K, random: Uint8Array): IdKinds[K] {
  if (random.length !== ID_BYTES) throw new RangeError(`An id is made of ${ID_BYTES} random bytes, not ${random.length}.`)
  const bytes = Uint8Array.from(random)
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80
  return dashed(Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')) as IdKinds[K]
}

/** An id as a dialect writes it. Throws RangeError if it is no UUID v4 (see `spellVolumeId` for chosen ids). */
export function spellId<K extends IdKind>(kind: K, dialect: IdDialect, id: IdKinds[K]): string {
  if (!UUID_V4.test(id)) throw new RangeError(`The ${kind} id ${id} is not a UUID v4.`)
  switch (dialect) {
    case 'native':
    case 'koyeb':
      return id
    case 'lambda':
      return id.replaceAll('-', '')
    case 'mithril':
      return MITHRIL_PREFIX[kind] + toBase62(bitsOf(id))
    case 'hypeman':
      return toHypeman(bitsOf(id))
  }
}

/** The id that a dialect's spelling stands for, or null if it is not the exact spelling of one. */
export function parseId<K extends IdKind>(kind: K, dialect: IdDialect, text: string): IdKinds[K] | null {
  return parseUuid(kind, dialect, text) as IdKinds[K] | null
}

/** Whether the text is a lower-case UUID v4, the form in which ids are kept. */
export function isUuidV4(text: string): boolean {
  return UUID_V4.test(text)
}

/**
 * A volume's id as Hypeman writes it. There a client may choose the id itself, so one that is no UUID is
 * kept as it is. `_.` marks what would otherwise be taken for another id: see `parseVolumeId`.
 */
export function spellVolumeId(id: VolumeId): string {
  if (UUID_V4.test(id)) return spellId('volume', 'hypeman', id)
  return id.startsWith(CHOSEN_MARK) ? id.slice(CHOSEN_MARK.length) : id
}

/**
 * The volume that a Hypeman client means. Its own spelling is decoded; any other text is an id that a client
 * chose. A chosen id that looks like a kept UUID, or like a marked one, is kept marked, so that two texts
 * never mean the same volume and every id comes back as it was sent.
 */
export function parseVolumeId(text: string): VolumeId {
  const decoded = parseId('volume', 'hypeman', text)
  if (decoded !== null) return decoded
  const marked = UUID_V4.test(text) || text.startsWith(CHOSEN_MARK)
  return (marked ? CHOSEN_MARK + text : text) as VolumeId
}

const CHOSEN_MARK = '_.'

function parseUuid(kind: IdKind, dialect: IdDialect, text: string): string | null {
  switch (dialect) {
    case 'native':
    case 'koyeb':
      return UUID_V4.test(text) ? text : null
    case 'lambda':
      return HEX_V4.test(text) ? dashed(text) : null
    case 'mithril': {
      const prefix = MITHRIL_PREFIX[kind]
      if (!text.startsWith(prefix)) return null
      return uuidOf(fromBase62(text.slice(prefix.length)))
    }
    case 'hypeman':
      return HYPEMAN.test(text) ? uuidOf(fromHypeman(text)) : null
  }
}

function dashed(hex: string): string {
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

/** The 122 bits that a UUID v4 leaves free: all but the version digit and the two bits of the variant. */
function bitsOf(uuid: string): bigint {
  const hex = uuid.replaceAll('-', '')
  const high = BigInt(`0x${hex.slice(0, 12)}${hex.slice(13, 16)}`)
  const low = BigInt(`0x${hex.slice(16)}`) & 0x3fff_ffff_ffff_ffffn
  return (high << 62n) | low
}

function uuidOf(bits: bigint | null): string | null {
  if (bits === null || bits >= LIMIT) return null
  const high = (bits >> 62n).toString(16).padStart(15, '0')
  const low = ((bits & 0x3fff_ffff_ffff_ffffn) | 0x8000_0000_0000_0000n).toString(16)
  return dashed(`${high.slice(0, 12)}4${high.slice(12)}${low}`)
}

function toHypeman(bits: bigint): string {
  const first = String.fromCharCode(LETTER_A + Number(bits % 26n))
  return first + reversed((bits / 26n).toString(36).padStart(BASE36_DIGITS, '0'))
}

function fromHypeman(text: string): bigint {
  const digits = reversed(text.slice(1))
  // In parts of ten digits: parseInt is exact below 2^53, and 36^10 < 2^52.
  let rest = 0n
  for (let at = 0; at < digits.length; at += 10) {
    const part = digits.slice(at, at + 10)
    rest = rest * 36n ** BigInt(part.length) + BigInt(Number.parseInt(part, 36))
  }
  return rest * 26n + BigInt(text.charCodeAt(0) - LETTER_A)
}

function toBase62(bits: bigint): string {
  let text = ''
  for (let left = bits; text.length < BASE62_DIGITS; left /= 62n) text += BASE62.charAt(Number(left % 62n))
  return text
}

function fromBase62(text: string): bigint | null {
  if (text.length !== BASE62_DIGITS) return null
  let bits = 0n
  for (const letter of reversed(text)) {
    const digit = BASE62.indexOf(letter)
    if (digit < 0) return null
    bits = bits * 62n + BigInt(digit)
  }
  return bits
}

function reversed(text: string): string {
  return Array.from(text).reverse().join('')
}
