import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { formatIpv4, parseIpv4 } from '../../instance/address.ts'
import { networkOf } from '../../instance/firewall.ts'
import type { FirewallRule } from '../../instance/model.ts'
import type { Allowed } from './allowed.ts'
import { allowedBy } from './allowed.ts'

const rule = (protocol: FirewallRule['protocol'], ports: FirewallRule['ports'], source: string): FirewallRule => ({ protocol, ports, source, description: '' })
const ANYWHERE = { from: '0.0.0.0', to: '255.255.255.255' }

test('rules become boxes, alike neighbours one box', () => {
  assert.deepEqual(allowedBy([]), { ports: [], protocols: [] })
  assert.deepEqual(allowedBy([rule('tcp', [22, 22], '0.0.0.0/0'), rule('icmp', null, '10.1.0.0/16'), rule('tcp', [23, 30], '0.0.0.0/0')]), {
    ports: [{ protocol: 'tcp', ...ANYWHERE, ports: [22, 30] }],
    protocols: [{ protocols: [1, 1], from: '10.1.0.0', to: '10.1.255.255' }],
  })
  assert.deepEqual(allowedBy([rule('udp', [5, 5], '10.0.0.0/9'), rule('udp', [5, 5], '10.128.0.0/9')]).ports, [
    { protocol: 'udp', from: '10.0.0.0', to: '10.255.255.255', ports: [5, 5] },
  ])
})

const anyRule: fc.Arbitrary<FirewallRule> = fc
  .record({
    protocol: fc.constantFrom('tcp', 'udp', 'icmp', 'all'),
    // Few values, so that rules overlap.
    ports: fc.option(fc.tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 0, max: 4 })).map(([from, more]) => [from, from + more] as const)),
    base: fc.constantFrom('10.0.0.0', '10.0.0.4', '10.0.0.7', '255.255.255.255', '0.0.0.0'),
    bits: fc.constantFrom(0, 8, 29, 30, 32),
  })
  .map(({ protocol, ports, base, bits }) => rule(protocol, protocol === 'icmp' ? null : ports, networkOf(`${base}/${bits}`) ?? ''))
const anySource = fc.constantFrom('10.0.0.0', '10.0.0.3', '10.0.0.4', '10.0.0.7', '10.0.0.8', '0.0.0.0', '11.0.0.0', '255.255.255.255')

test('a packet is in one box if a rule lets it in, and in none otherwise', () => {
  fc.assert(
    fc.property(fc.array(anyRule, { maxLength: 8 }), anySource, fc.integer({ min: 1, max: 12 }), fc.constantFrom(1, 6, 17, 47), (rules, source, port, protocol) => {
      const expected = rules.some((candidate) => means(candidate, source, port, protocol))
      assert.equal(boxesWith(allowedBy(rules), source, port, protocol), expected ? 1 : 0)
      assert.deepEqual(allowedBy([...rules.toReversed(), ...rules]), allowedBy(rules))
    }),
  )
})

function means({ protocol, ports, source: network }: FirewallRule, source: string, port: number, number: number): boolean {
  const name = number === 6 ? 'tcp' : number === 17 ? 'udp' : number === 1 ? 'icmp' : 'other'
  const [base = '', bits = '0'] = network.split('/')
  const size = 2 ** (32 - Number(bits))
  const isFrom = Math.floor((parseIpv4(source) ?? 0) / size) * size === parseIpv4(base)
  const isPort = (name !== 'tcp' && name !== 'udp') || ports === null || (ports[0] <= port && port <= ports[1])
  return isFrom && isPort && (protocol === 'all' || protocol === name)
}

function boxesWith(allowed: Allowed, source: string, port: number, number: number): number {
  const at = parseIpv4(source) ?? 0
  const holds = ({ from, to }: { readonly from: string; readonly to: string }) => (parseIpv4(from) ?? 0) <= at && at <= (parseIpv4(to) ?? 0)
  const withPort = allowed.ports.filter((box) => holds(box) && box.ports[0] <= port && port <= box.ports[1] && (box.protocol === 'tcp' ? 6 : 17) === number)
  const without = allowed.protocols.filter((box) => holds(box) && box.protocols[0] <= number && number <= box.protocols[1])
  assert.ok([...allowed.ports, ...allowed.protocols].every(({ from, to }) => formatIpv4(parseIpv4(from) ?? 0) === from && formatIpv4(parseIpv4(to) ?? 0) === to))
  return withPort.length + without.length
}
