import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import {
  capacityOf,
  formatIpv4,
  formatSubnet,
  freeAddress,
  gatewayOf,
  indexOfAddress,
  macOf,
  netmaskOf,
  nthAddress,
  parseIpv4,
  parseSubnet,
  subnetsOverlap,
} from './address.ts'
import type { Subnet } from './address.ts'
import { BerthError } from './errors.ts'

const anySubnet: fc.Arbitrary<Subnet> = fc
  .tuple(fc.integer({ min: 8, max: 28 }), fc.integer({ min: 0, max: 0xffffffff }))
  .map(([prefixLength, address]) => {
    const size = 2 ** (32 - prefixLength)
    return { base: Math.floor(address / size) * size, prefixLength }
  })

const subnetAndIndex = anySubnet.chain((subnet) =>
  fc.record({ subnet: fc.constant(subnet), index: fc.integer({ min: 0, max: capacityOf(subnet) - 1 }) }),
)

describe('addresses', () => {
  it('every number has one spelling, and every spelling one number', () => {
    fc.assert(fc.property(fc.integer({ min: 0, max: 0xffffffff }), (n) => parseIpv4(formatIpv4(n)) === n))
  })

  it('a subnet reads back as it was written', () => {
    fc.assert(
      fc.property(anySubnet, (subnet) => assert.deepEqual(parseSubnet(formatSubnet(subnet)), subnet)),
    )
  })

  it('index and address are a bijection inside the subnet, and never the gateway or the broadcast address', () => {
    fc.assert(
      fc.property(subnetAndIndex, ({ subnet, index }) => {
        const ip = nthAddress(subnet, index)
        assert.equal(indexOfAddress(subnet, ip), index)
        assert.notEqual(ip, gatewayOf(subnet))
        const value = parseIpv4(ip)
        assert.ok(value !== null && value > subnet.base && value < subnet.base + 2 ** (32 - subnet.prefixLength) - 1)
      }),
    )
  })

  it('one past the last index is refused, and the broadcast address is no instance', () => {
    fc.assert(
      fc.property(anySubnet, (subnet) => {
        assert.throws(() => nthAddress(subnet, capacityOf(subnet)), RangeError)
        assert.equal(indexOfAddress(subnet, formatIpv4(subnet.base + 2 ** (32 - subnet.prefixLength) - 1)), null)
        assert.equal(indexOfAddress(subnet, gatewayOf(subnet)), null)
      }),
    )
  })

  it('different addresses have different unicast, locally administered MACs', () => {
    const address = fc.integer({ min: 0, max: 0xffffffff }).map(formatIpv4)
    fc.assert(
      fc.property(address, address, (one, other) => {
        assert.match(macOf(one), /^02:be(:[0-9a-f]{2}){4}$/)
        assert.equal(macOf(one) === macOf(other), one === other)
      }),
    )
  })

  it('the lowest free address is given, and none when the subnet is full', () => {
    const subnet = parseSubnet('10.1.2.0/28')
    const taken = new Set<string>()
    for (let index = 0; index < capacityOf(subnet); index++) {
      const ip = freeAddress(subnet, taken)
      assert.equal(ip, nthAddress(subnet, index))
      taken.add(ip)
    }
    assert.equal(freeAddress(subnet, taken), null)
    taken.delete('10.1.2.12')
    assert.equal(freeAddress(subnet, taken), '10.1.2.12')
  })

  it('known figures of a /16', () => {
    const subnet = parseSubnet('10.73.0.0/16')
    assert.equal(gatewayOf(subnet), '10.73.0.1')
    assert.equal(netmaskOf(subnet), '255.255.0.0')
    assert.equal(nthAddress(subnet, 0), '10.73.0.10')
    assert.equal(nthAddress(subnet, capacityOf(subnet) - 1), '10.73.255.254')
    assert.equal(macOf('10.73.0.10'), '02:be:0a:49:00:0a')
  })

  it('subnets overlap exactly when one holds the other’s base', () => {
    fc.assert(
      fc.property(anySubnet, anySubnet, (one, other) => {
        const holds = (a: Subnet, b: Subnet) => b.base >= a.base && b.base < a.base + 2 ** (32 - a.prefixLength)
        assert.equal(subnetsOverlap(one, other), holds(one, other) || holds(other, one))
      }),
    )
    assert.equal(subnetsOverlap(parseSubnet('10.0.0.0/8'), parseSubnet('10.73.0.0/16')), true)
    assert.equal(subnetsOverlap(parseSubnet('10.72.0.0/16'), parseSubnet('10.73.0.0/16')), false)
  })

  for (const text of ['', '10.73.0.0', '10.73.0/16', '10.73.0.0/7', '10.73.0.0/29', '10.73.0.1/16', '010.1.0.0/16', '10.256.0.0/16', 'fd00::/64', '10.73.0.0/16 ']) {
    it(`refuses "${text}" as a subnet, with a sentence`, () => {
      assert.throws(() => parseSubnet(text), (error) => error instanceof BerthError && error.code === 'invalid_request' && /[.?]$/.test(error.message))
    })
  }
})
