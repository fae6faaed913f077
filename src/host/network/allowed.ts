/**
 * What a firewall lets in, as nftables keeps it: boxes that don't overlap, since a set of intervals holds no point twice.
 *
 *   rules                                  boxes (sources across, ports up)
 *     tcp 22      from anywhere              22 ├──────────┬─────┬───────┤
 *     tcp 22-80   from 10.0.0.0/8                          │22-80│
 *
 * Pure. The same rules in another order, or said twice, are the same boxes.
 */
import { formatIpv4, parseIpv4 } from '../../instance/address.ts'
import type { FirewallRule } from '../../instance/model.ts'

/** Addresses, first and last. */
export interface SourceRange {
  readonly from: string
  readonly to: string
}

export interface PortBox extends SourceRange {
  readonly protocol: 'tcp' | 'udp'
  readonly ports: readonly [number, number]
}

/** Protocols by number, first and last: what has no ports. */
export interface ProtocolBox extends SourceRange {
  readonly protocols: readonly [number, number]
}

export interface Allowed {
  readonly ports: readonly PortBox[]
  readonly protocols: readonly ProtocolBox[]
}

type Range = readonly [number, number]

const EVERY_ADDRESS: Range = [0, 0xffffffff]
const EVERY_PORT: Range = [1, 65535]
const ICMP: Range = [1, 1]
/** All but ICMP, TCP (6) and UDP (17); 0 is none in IPv4. */
const OTHERS: readonly Range[] = [[2, 5], [7, 16], [18, 255]]

export function allowedBy(rules: readonly FirewallRule[]): Allowed {
  const meaning = (protocols: readonly FirewallRule['protocol'][]) => rules.filter(({ protocol }) => protocols.includes(protocol))
  const ports = (['tcp', 'udp'] as const).flatMap((protocol) =>
    disjoint(meaning([protocol, 'all']).map(({ source, ports: range }) => ({ sources: rangeOf(source), ports: range ?? EVERY_PORT }))).map((box) => ({
      protocol,
      ...sourceRange(box.sources),
      ports: box.ports,
    })),
  )
  const icmp = merged(meaning(['icmp', 'all']).map(({ source }) => rangeOf(source)))
  const others = merged(meaning(['all']).map(({ source }) => rangeOf(source)))
  return {
    ports,
    protocols: [
      ...icmp.map((sources) => ({ protocols: ICMP, ...sourceRange(sources) })),
      ...OTHERS.flatMap((protocols) => others.map((sources) => ({ protocols, ...sourceRange(sources) }))),
    ],
  }
}

interface Box {
  readonly sources: Range
  readonly ports: Range
}

/** The same points in boxes that don't overlap: cut at every edge of a source, then neighbours alike are joined. */
function disjoint(boxes: readonly Box[]): Box[] {
  const edges = [...new Set(boxes.flatMap(({ sources: [from, to] }) => [from, to + 1]))].toSorted((a, b) => a - b)
  const strips: { sources: Range; ports: readonly Range[] }[] = []
  for (const [index, from] of edges.entries()) {
    const next = edges[index + 1]
    if (next === undefined) break
    const ports = merged(boxes.filter(({ sources }) => sources[0] <= from && from <= sources[1]).map((box) => box.ports))
    const last = strips.at(-1)
    if (last !== undefined && last.sources[1] === from - 1 && JSON.stringify(last.ports) === JSON.stringify(ports)) {
      strips[strips.length - 1] = { sources: [last.sources[0], next - 1], ports }
    } else strips.push({ sources: [from, next - 1], ports })
  }
  return strips.flatMap(({ sources, ports }) => ports.map((range) => ({ sources, ports: range })))
}

/** Ranges in order, those that touch or overlap as one. */
function merged(ranges: readonly Range[]): Range[] {
  const result: Range[] = []
  for (const [from, to] of ranges.toSorted((a, b) => a[0] - b[0])) {
    const last = result.at(-1)
    if (last === undefined || from > last[1] + 1) result.push([from, to])
    else result[result.length - 1] = [last[0], Math.max(last[1], to)]
  }
  return result
}

/** The addresses of `10.0.0.0/8`; a lone address is one. The engine has checked it; what it doesn't know means nobody. */
function rangeOf(source: string): Range {
  const [address = '', length = '32'] = source.split('/')
  const base = parseIpv4(address)
  const bits = Number(length)
  if (base === null || !Number.isInteger(bits) || bits < 0 || bits > 32) throw new RangeError(`${source} is no network.`)
  if (bits === 0) return EVERY_ADDRESS
  const size = 2 ** (32 - bits)
  const from = Math.floor(base / size) * size
  return [from, from + size - 1]
}

function sourceRange([from, to]: Range): SourceRange {
  return { from: formatIpv4(from), to: formatIpv4(to) }
}
