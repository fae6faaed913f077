/**
 * Reads back from `nft -j list table` what ruleset.ts wrote: the guests whose elements are in the kernel.
 * That is the memory of a server that was killed: the next one continues from it.
 *
 * Whatever doesn't look like ours is left out; plugging an instance again repairs it.
 */
import type { PortMapping } from '../../instance/model.ts'
import type { GuestRules } from './ruleset.ts'

/** `bridgeTable` and `ipTable` are nft's JSON of the two tables, or null where one isn't there. */
export function readGuests(bridgeTable: string | null, ipTable: string | null): GuestRules[] {
  const bridge = objectsOf(bridgeTable)
  const limits = new Map(bridge.flatMap((object) => limitOf(object['limit'])))
  const groups = new Map(elementsOf(bridge, 'map', 'group_of').flatMap(groupOf))
  const uploads = new Set(elementsOf(bridge, 'map', 'uploads').flatMap((element) => textAt(pairOf(element).key)))
  const ports = elementsOf(objectsOf(ipTable), 'map', 'published').flatMap(portOf)
  return elementsOf(bridge, 'set', 'guests').flatMap((element) => {
    const [tap, mac, ip] = concatOf(element)
    if (typeof tap !== 'string' || typeof mac !== 'string' || typeof ip !== 'string') return []
    return [{
      tap,
      mac,
      ip,
      uploadBytesPerSecond: uploads.has(tap) ? (limits.get(tap) ?? null) : null,
      ports: ports.filter((port) => port.ip === ip).map(({ mapping }) => mapping),
      group: groups.get(tap) ?? null,
    }]
  })
}

type Json = Readonly<Record<string, unknown>>

function objectsOf(text: string | null): Json[] {
  if (text === null) return []
  const parsed: unknown = JSON.parse(text)
  const list = isObject(parsed) ? parsed['nftables'] : null
  return Array.isArray(list) ? list.filter(isObject) : []
}

function elementsOf(objects: readonly Json[], kind: 'set' | 'map', name: string): unknown[] {
  return objects.flatMap((object) => {
    const found = object[kind]
    return isObject(found) && found['name'] === name && Array.isArray(found['elem']) ? found['elem'] : []
  })
}

/** A map's element is `[key, value]`; a key with a comment is wrapped in `elem`. */
function pairOf(element: unknown): { key: unknown; value: unknown; comment: string | null } {
  const [wrapped, value] = Array.isArray(element) ? element : [element, null]
  const inner = isObject(wrapped) && isObject(wrapped['elem']) ? wrapped['elem'] : null
  const comment = inner?.['comment']
  return { key: inner === null ? wrapped : inner['val'], value, comment: typeof comment === 'string' ? comment : null }
}

function concatOf(value: unknown): unknown[] {
  return isObject(value) && Array.isArray(value['concat']) ? value['concat'] : []
}

function textAt(value: unknown): string[] {
  return typeof value === 'string' ? [value] : []
}

function limitOf(limit: unknown): [string, number][] {
  if (!isObject(limit)) return []
  const { name, rate, rate_unit: unit } = limit
  if (typeof name !== 'string' || typeof rate !== 'number' || typeof unit !== 'string') return []
  const scale = RATE_UNITS[unit]
  return scale === undefined ? [] : [[name, rate * scale]]
}

/** nft prints a rate in the largest unit that divides it. */
const RATE_UNITS: Readonly<Record<string, number>> = { bytes: 1, kbytes: 1024, mbytes: 1024 * 1024 }

function groupOf(element: unknown): [string, { key: string; mark: number }][] {
  const { key: tap, value: mark, comment: key } = pairOf(element)
  return typeof tap === 'string' && typeof mark === 'number' && key !== null ? [[tap, { key, mark }]] : []
}

function portOf(element: unknown): { ip: string; mapping: PortMapping }[] {
  const { key, value } = pairOf(element)
  const [protocol, hostPort] = concatOf(key)
  const [ip, guestPort] = concatOf(value)
  if (protocol !== 'tcp' && protocol !== 'udp') return []
  if (typeof hostPort !== 'number' || typeof guestPort !== 'number' || typeof ip !== 'string') return []
  return [{ ip, mapping: { hostPort, guestPort, protocol } }]
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
