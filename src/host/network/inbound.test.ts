import assert from 'node:assert/strict'
import { test } from 'node:test'
import { counts } from '../../instance/auto-standby.ts'
import { connectionsIn } from './inbound.ts'

const TABLE = `ipv4     2 udp      17 21 src=192.0.2.2 dst=10.255.255.53 sport=37988 dport=53 src=10.255.255.53 dst=192.0.2.2 sport=53 dport=37988 mark=0 zone=0 use=2
ipv4     2 tcp      6 420435 ESTABLISHED src=10.92.0.1 dst=10.92.0.10 sport=45600 dport=22 src=10.92.0.10 dst=10.92.0.1 sport=22 dport=45600 [ASSURED] mark=0 zone=0 use=2
ipv4     2 tcp      6 431999 ESTABLISHED src=203.0.113.9 dst=192.0.2.2 sport=50000 dport=8080 src=10.92.0.11 dst=203.0.113.9 sport=80 dport=50000 [ASSURED] mark=0 zone=0 use=2
ipv4     2 tcp      6 19 TIME_WAIT src=127.0.0.1 dst=10.92.0.10 sport=36750 dport=80 src=10.92.0.10 dst=127.0.0.1 sport=80 dport=36750 [ASSURED] mark=0 zone=0 use=2
ipv4     2 tcp      6 92 SYN_SENT src=10.191.53.1 dst=10.92.0.10 sport=36014 dport=8000 [UNREPLIED] src=10.92.0.10 dst=10.191.53.1 sport=8000 dport=36014 mark=0 zone=0 use=2
nonsense
`

test('open TCP connections are read with the guest’s own port, also through a published one', () => {
  assert.deepEqual(connectionsIn(TABLE), [
    { address: '10.92.0.10', port: 22, source: '10.92.0.1', sourcePort: 45_600 },
    { address: '10.92.0.11', port: 80, source: '203.0.113.9', sourcePort: 50_000 },
  ])
})

test('ports and networks that are ignored do not count', () => {
  const policy = { enabled: true, idleAfterMs: 1000, ignoreSources: ['203.0.113.0/24', '10.92.0.1'], ignorePorts: [443] }
  const from = (source: string, port: number) => counts(policy, { address: '10.0.0.2', source, port })
  assert.deepEqual([from('203.0.113.9', 80), from('203.0.114.9', 80), from('10.92.0.1', 80), from('10.92.0.2', 443), from('10.92.0.2', 80)], [false, true, false, false, true])
})
