/**
 * Names of what the kernel keeps for us: everything follows from the bridge's name and the instance's
 * id, so that a new process finds what an old one made, and several Berths share a machine.
 *
 *   tap:  bth  xxx          yyyyyyyyy
 *              hash(bridge)  hash(bridge, instance)      15 characters, the kernel's limit
 */
import { createHash } from 'node:crypto'
import { BerthError } from '../../instance/errors.ts'

/** IFNAMSIZ without its final zero. */
export const MAX_INTERFACE_NAME = 15
export const MAX_OWNER_LENGTH = 200
const BRIDGE_HASH_LENGTH = 3
const INSTANCE_HASH_LENGTH = 9
/** Lower-case letters and digits that can't be taken for one another. */
const ALPHABET = 'abcdefghijkmnpqrstuvwxyz23456789'

/** What of an owner's name fits: an interface's alias holds 255 bytes, and `ip -batch` splits at quotes and blanks. */
export function ownerName(owner: string): string {
  return owner.replaceAll(/[^\x21-\x7e]|["'\\#]/g, '_').slice(-MAX_OWNER_LENGTH)
}

/** Refuses what is no safe interface name; it goes into rules and paths. */
export function checkBridgeName(name: string): void {
  if (/^[a-z][a-z0-9-]{0,14}$/.test(name) && !name.startsWith('bth')) return
  throw new BerthError(
    'invalid_request',
    `"${name}" can't name a bridge; use up to ${MAX_INTERFACE_NAME} of a-z, 0-9 and "-", beginning with a letter and not with "bth".`,
  )
}

/** What all taps of a bridge begin with, and no tap of another. */
export function tapPrefix(bridge: string): string {
  return `bth${shortHash(bridge, BRIDGE_HASH_LENGTH)}`
}

/** The tap of an instance: always the same. */
export function tapName(bridge: string, instanceId: string): string {
  return tapPrefix(bridge) + shortHash(`${bridge}\0${instanceId}`, INSTANCE_HASH_LENGTH)
}

/** The name under which a group is kept in the rules: any text becomes 32 hexadecimal digits. */
export function groupKey(peerGroup: string): string {
  return createHash('sha256').update(peerGroup).digest('hex').slice(0, 32)
}

function shortHash(text: string, length: number): string {
  const digest = createHash('sha256').update(text).digest()
  return Array.from(digest.subarray(0, length), (byte) => ALPHABET.charAt(byte % 32)).join('')
}
