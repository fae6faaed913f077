/**
 * Reads back from `nft -j list table` what ruleset.ts wrote: the guests whose elements are in the kernel.
 * That is the memory of a server that was killed: the next one continues from it.
 *
 * Whatever doesn't look like ours is left out; plugging an instance again repairs it.
 */
import { formatIpv4, parseIpv4 } from '../../instance/address.ts'
import type { PortMapping } from '../../instance/model.ts'
import type { Allowed, PortBox, ProtocolBox } from './allowed.ts'
import type { GuestRules } from './ruleset.ts'

/** `bridgeTable` and `ipTable` are nft's JSON of the two tables, or null where one isn't there. */
export function readGuests(bridgeTable: string | null, ipTable: string | null): GuestRules[] {
  const bridge = objectsOf(bridgeTable)
  const limits = new Map(bridge.flatMap((object) => limitOf(object['limit'])))
  const groups = new Map(elementsOf(bridge, 'map', 'group_of').flatMap(groupOf))
  const uploads = new Set(elementsOf(bridge, 'map', 'uploads').flatMap((element) => textAt(pairOf(element).key)))
  const ipObjects = objectsOf(ipTable)
  const ports = elementsOf(ipObjects, 'map', 'published').flatMap(portOf)
  const served = elementsOf(ipObjects, 'set', 'served').flatMap(servedOf)
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
      hostPorts: served.filter((port) => port.ip === ip).map((port) => port.port),
      allowed: allowedOf(ipObjects, ip),
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

function servedOf(element: unknown): { ip: string; port: number }[] {
  const [ip, port] = concatOf(element)
  return typeof ip === 'string' && typeof port === 'number' ? [{ ip, port }] : []
}

function allowedOf(table: readonly Json[], ip: string): Allowed | null {
  if (!elementsOf(table, 'set', 'filtered').includes(ip)) return null
  return {
    ports: elementsOf(table, 'set', 'allowed_ports').flatMap((element) => portBoxOf(element, ip)),
    protocols: elementsOf(table, 'set', 'allowed_protocols').flatMap((element) => protocolBoxOf(element, ip)),
  }
}

function portBoxOf(element: unknown, wanted: string): PortBox[] {
  const [ip, protocol, source, port] = concatOf(element)
  const [sources, ports] = [sourcesOf(source), numbersOf(port)]
  if (ip !== wanted || (protocol !== 'tcp' && protocol !== 'udp') || sources === null || ports === null) return []
  return [{ protocol, ...sources, ports }]
}

function protocolBoxOf(element: unknown, wanted: string): ProtocolBox[] {
  const [ip, protocol, source] = concatOf(element)
  const [sources, protocols] = [sourcesOf(source), protocol === 'icmp' ? ([1, 1] as const) : numbersOf(protocol)]
  return ip !== wanted || sources === null || protocols === null ? [] : [{ protocols, ...sources }]
}

/** An address, a range, or a prefix. */
function sourcesOf(value: unknown): { from: string; to: string } | null {
  if (typeof value === 'string') return { from: value, to: value }
  const prefix = isObject(value) && isObject(value['prefix']) ? value['prefix'] : null
  if (prefix !== null) return typeof prefix['addr'] === 'string' && typeof prefix['len'] === 'number' ? networkOf(prefix['addr'], prefix['len']) : null
  const [from, to] = rangeAt(value)
  return typeof from === 'string' && typeof to === 'string' ? { from, to } : null
}

function networkOf(address: string, length: number): { from: string; to: string } | null {
  const base = parseIpv4(address)
  return base === null ? null : { from: address, to: formatIpv4(base + 2 ** (32 - length) - 1) }
}

function numbersOf(value: unknown): readonly [number, number] | null {
  if (typeof value === 'number') return [value, value]
  const [from, to] = rangeAt(value)
  return typeof from === 'number' && typeof to === 'number' ? [from, to] : null
}

function rangeAt(value: unknown): unknown[] {
  return isObject(value) && Array.isArray(value['range']) ? value['range'] : []
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
