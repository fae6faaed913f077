/**
 * Other people's firewalls: where Docker or ufw drop what they don't know, our bridge is let through.
 * In a network namespace of its own, since it changes the machine's own rules.
 */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { describe, it } from 'node:test'
import { runCommand } from '../src/host/command.ts'

const skip = process.geteuid?.() !== 0 ? 'needs root' : !existsSync('/usr/sbin/iptables') ? 'needs iptables' : false
const door = new URL('../src/host/network/network.ts', import.meta.url).href

describe('a machine whose firewall drops forwarded packets', { skip }, () => {
  const steps = `
    const { execFileSync } = require('node:child_process')
    const rules = () => execFileSync('iptables', ['-S'], { encoding: 'utf8' }).split('\\n').filter((line) => line.includes('bfw0'))
    import('${door}').then(async ({ openNetwork }) => {
      const network = await openNetwork({ mode: 'bridge', subnet: '10.99.0.0/16', bridgeName: 'bfw0' })
      await network.ensure()
      await network.ensure()
      const during = rules()
      await network.teardown()
      console.log(JSON.stringify({ during, after: rules() }))
    })`
  /** sysfs shows the interfaces of the namespace that mounted it. */
  const inNamespace = async (prepare: string): Promise<unknown> =>
    JSON.parse(
      await runCommand('unshare', ['--net', '--mount', 'sh', '-c', `mount -t sysfs sysfs /sys && ${prepare} && exec "$0" -e "$1"`, process.execPath, steps], { timeoutMs: 60_000 }),
    )

  it('ufw: rules in FORWARD, once, and gone with the bridge', async () => {
    assert.deepEqual(await inNamespace('iptables -P FORWARD DROP'), {
      during: ['-A FORWARD -o bfw0 -j ACCEPT', '-A FORWARD -i bfw0 -j ACCEPT'],
      after: [],
    })
  })

  it('Docker: in the chain that Docker leaves to others', async () => {
    assert.deepEqual(await inNamespace('iptables -P FORWARD DROP && iptables -N DOCKER-USER'), {
      during: ['-A DOCKER-USER -o bfw0 -j ACCEPT', '-A DOCKER-USER -i bfw0 -j ACCEPT'],
      after: [],
    })
  })

  it('neither: nothing of theirs is touched', async () => {
    assert.deepEqual(await inNamespace('true'), { during: [], after: [] })
  })
})
