/** The pure parts of the network's room; what needs packets is in test/network-bridge.test.ts. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { parseSubnet } from '../../instance/address.ts'
import { BerthError } from '../../instance/errors.ts'
import { parseListeners } from './listeners.ts'
import { MAX_INTERFACE_NAME, checkBridgeName, groupKey, tapName, tapPrefix } from './names.ts'
import { networkOptionsFrom, openNetwork } from './network.ts'
import { parseResolvers } from './resolvers.ts'
import { addGuest, removeGuest } from './ruleset.ts'
import { readGuests } from './ruleset-state.ts'
import { userModeOptions } from './user-mode.ts'

describe('names', () => {
  it('a tap’s name fits the kernel, follows from bridge and instance, and tells its bridge', () => {
    fc.assert(
      fc.property(fc.uuid(), fc.constantFrom('berth0', 'other'), (id, bridge) => {
        const name = tapName(bridge, id)
        assert.equal(name, tapName(bridge, id))
        assert.match(name, /^bth[a-z0-9]{12}$/)
        assert.equal(name.length, MAX_INTERFACE_NAME)
        assert.ok(name.startsWith(tapPrefix(bridge)))
      }),
    )
    assert.notEqual(tapPrefix('berth0'), tapPrefix('berth1'))
    assert.notEqual(tapName('berth0', 'a'), tapName('berth0', 'b'))
  })

  for (const name of ['', '0a', 'Berth', 'a b', 'berth0;', 'berth"', 'sixteen-letters-', 'bthab', 'a/b', '..']) {
    it(`"${name}" can't name a bridge`, () => assert.throws(() => checkBridgeName(name), BerthError))
  }

  it('any group becomes safe text', () => {
    fc.assert(fc.property(fc.string(), (group) => /^[0-9a-f]{32}$/.test(groupKey(group))))
  })
})

describe('ports that programs listen on', () => {
  const head = '  sl  local_address rem_address   st tx_queue'
  it('are read from the kernel’s table: listening ones only, and not those of IPv6’s loopback', () => {
    const table = [
      head,
      '   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000',
      '   1: 00000000:0016 00000000:0000 0A 00000000:00000000',
      '   2: 0200A8C0:A000 0100A8C0:01BB 01 00000000:00000000',
      '   3: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0',
      '   4: 00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A 0:0',
    ].join('\n')
    assert.deepEqual(parseListeners(table, 'tcp'), new Set([8080, 22, 443]))
  })
  it('UDP sockets without a peer count', () => {
    assert.deepEqual(parseListeners(`${head}\n 1: 00000000:0035 00000000:0000 07 0:0\n 2: 0200A8C0:A000 0100A8C0:0035 01 0:0`, 'udp'), new Set([53]))
  })
})

describe('name servers', () => {
  it('loopback and IPv6 ones are left out, doubles too, and three are enough', () => {
    const text = '# nameserver 9.9.9.1\nsearch x\nnameserver 127.0.0.53\nnameserver fd00::1\nnameserver 10.0.0.2\n nameserver\t10.0.0.3 \nnameserver 10.0.0.2\nnameserver 10.0.0.4\nnameserver 10.0.0.5\nnameserver 10.0.0.999'
    assert.deepEqual(parseResolvers(text), ['10.0.0.2', '10.0.0.3', '10.0.0.4'])
    assert.deepEqual(parseResolvers(''), [])
  })
})

describe('rules of a guest', () => {
  const config = { bridge: 'berth0', tapPrefix: tapPrefix('berth0'), subnet: parseSubnet('10.73.0.0/16') }
  const guest = {
    tap: 'bthabcdefghijkl',
    ip: '10.73.0.10',
    mac: '02:be:0a:49:00:0a',
    uploadBytesPerSecond: 1000,
    ports: [{ hostPort: 8080, guestPort: 80, protocol: 'tcp' as const }],
    group: { key: groupKey('x'), mark: 7 },
    hostPorts: [],
    allowed: null,
  }
  it('are added and removed element by element, the same ones', () => {
    const keys = (text: string) => text.split('\n').map((line) => line.replace(/^(add|delete) /, '').replace(/ comment "\w+"/, '').replace(/ \{ rate.*/, '')).toSorted()
    assert.deepEqual(keys(addGuest(config, guest)), keys(removeGuest(config, guest)))
    assert.equal(addGuest(config, { ...guest, uploadBytesPerSecond: null, ports: [], group: null }).split('\n').length, 1)
  })
  it('nothing is read from nothing, or from what isn’t ours', () => {
    assert.deepEqual(readGuests(null, null), [])
    assert.deepEqual(readGuests('{"nftables":[{"set":{"name":"guests","elem":["x",{"concat":[1,2,3]}]}}]}', '{"nftables":[{"map":{"name":"published","elem":[[1,2]]}}]}'), [])
  })
})

describe('settings', () => {
  it('come from the environment', () => {
    assert.deepEqual(networkOptionsFrom({}), { mode: 'auto' })
    assert.deepEqual(networkOptionsFrom({ BERTH_NETWORK: 'user', BERTH_SUBNET: '10.1.0.0/16', BERTH_BRIDGE: 'b1', BERTH_DNS: '10.0.0.1, 10.0.0.2' }), {
      mode: 'user', subnet: '10.1.0.0/16', bridgeName: 'b1', dns: ['10.0.0.1', '10.0.0.2'],
    })
  })
  for (const env of [{ BERTH_NETWORK: 'vpn' }, { BERTH_SUBNET: '10.1.1.1/16' }, { BERTH_BRIDGE: 'a b' }, { BERTH_DNS: 'localhost' }]) {
    it(`${JSON.stringify(env)} is refused with a sentence`, async () => {
      await assert.rejects(
        async () => openNetwork({ ...networkOptionsFrom(env) }),
        (error) => error instanceof BerthError && error.code === 'invalid_request' && /[.?]$/.test(error.message),
      )
    })
  }
})

describe('user mode', () => {
  it('keeps the instance’s own address', () => {
    assert.equal(
      userModeOptions(parseSubnet('10.73.0.0/16'), '10.73.0.10', [{ hostPort: 8080, guestPort: 80, protocol: 'udp' }]),
      'ipv6=off,net=10.73.0.0/16,host=10.73.0.1,dns=10.73.0.3,dhcpstart=10.73.0.10,hostfwd=udp::8080-10.73.0.10:80',
    )
  })
})
