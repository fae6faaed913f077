/**
 * What `berth doctor` finds of Berths that are gone, and removes with `--clean`: on a machine within the machine (network,
 * processes, mounts and runtime directory of its own), since it looks at everything.
 */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { runCommand } from '../src/host/command.ts'
import type { Check } from '../src/server/doctor.ts'
import { isRoot } from './host-lab.ts'

const HOST = new URL('../src/host/', import.meta.url).href
const LIMIT_MS = 120_000

describe('berth doctor', { skip: !isRoot && 'needs root' }, () => {
  let dir = ''
  before(() => void (dir = mkdtempSync(join(tmpdir(), 'bt-left-'))))
  after(() => rmSync(dir, { recursive: true, force: true }))

  /** Runs a script on a machine of its own: what it prints as JSON. `find`, `clean` and `sh` are there. */
  async function onMachine<T>(script: string): Promise<T> {
    const prelude = `
      import { execFileSync, spawn } from 'node:child_process'
      import { mkdirSync, rmSync, writeFileSync, openSync, existsSync } from 'node:fs'
      import { setTimeout as sleep } from 'node:timers/promises'
      import { findLeftovers } from '${HOST}leftovers/leftovers.ts'
      import { openNetwork } from '${HOST}network/network.ts'
      const sh = (text) => execFileSync('sh', ['-ec', text], { encoding: 'utf8' })
      const lines = (found) => found.map(({ kind, name, why, remove }) => [kind, name, why, remove !== null].join(' | '))
      const find = async () => lines(await look())
      const look = (isServed = () => false) => findLeftovers({ runDir: '/run/berth', isServed })
      const clean = async () => Promise.all((await look()).filter(({ remove }) => remove !== null).map(({ remove }) => remove()))
      const bridge = async (bridgeName, owner, subnet) => (await openNetwork({ mode: 'bridge', bridgeName, owner, subnet })).ensure()
      const D = '${dir}'`
    const file = join(dir, 'script.mjs')
    writeFileSync(file, `${prelude}\n${script}`)
    // Nothing of the real machine is seen there; control groups neither, which have a test of their own.
    const setUp = 'mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /run && mkdir -p /run/berth && ip link set lo up && exec "$0" "$1"'
    const out = await runCommand('unshare', ['--net', '--pid', '--fork', '--mount-proc', '--mount', 'sh', '-c', setUp, process.execPath, file], { timeoutMs: LIMIT_MS })
    return JSON.parse(out) as T
  }

  it('finds nothing where nothing is left, and nothing of a Berth that is there', async () => {
    const found = await onMachine<readonly string[][]>(`
      const first = await find()
      mkdirSync(D + '/alive/instances', { recursive: true })
      await bridge('balive', D + '/alive', '10.91.0.0/16')
      sh('ip link add name another type bridge && ip link set another alias "/not/there" && nft add table ip another && nft add table bridge another')
      sh('ip tuntap add dev bthaaabbbbbbbbb mode tap user 1879048999 && ip link set dev bthaaabbbbbbbbb alias no-instance')
      console.log(JSON.stringify([first, (await find()).filter((line) => !line.includes('bthaaabbbbbbbbb')), await clean(), sh('ip -o link').match(/balive|another|bthaaabbbbbbbbb/g)]))`)
    const [first, second, cleaned, links] = found
    assert.deepEqual([first, second], [[], []])
    // A tap that is only called like one of ours is left when it comes to it.
    assert.deepEqual(cleaned, [false])
    assert.deepEqual(new Set(links), new Set(['balive', 'another', 'bthaaabbbbbbbbb']))
  })

  it('removes bridges with their taps and rules, and runtime directories, whose data directory is gone', async () => {
    const [found, left, again] = await onMachine<readonly [string[], string, string[]]>(`
      await bridge('bgone', D + '/gone', '10.92.0.0/16')
      const network = await openNetwork({ mode: 'bridge', bridgeName: 'bgone', owner: D + '/gone', subnet: '10.92.0.0/16' })
      await network.ensure()
      await network.plug({ instanceId: '00000000-0000-4000-8000-000000000001', ip: '10.92.0.20', mac: '02:be:0a:5c:00:14', ownerUid: 1879048999, downloadBytesPerSecond: null, uploadBytesPerSecond: null, ports: [], peerGroup: null })
      for (const [name, owner] of [['11111111', D + '/gone'], ['22222222', D]]) {
        mkdirSync('/run/berth/' + name)
        writeFileSync('/run/berth/' + name + '/data-dir', owner + '\\n')
      }
      mkdirSync('/run/berth/33333333')
      const found = await find()
      await clean()
      console.log(JSON.stringify([found, sh('ip -o link; nft list tables; ls /run/berth'), await find()]))`)
    assert.deepEqual(found, [
      `bridge | bgone | its data directory ${dir}/gone is gone | true`,
      `runtime directory | /run/berth/11111111 | its data directory ${dir}/gone is gone | true`,
    ])
    assert.doesNotMatch(left, /bgone|bth|11111111/)
    assert.match(left, /22222222\n33333333/)
    assert.deepEqual(again, [])
  })

  it('removes taps and rules whose bridge is gone, and only tells of a tap that can’t be told whose it was', async () => {
    const [found, left] = await onMachine<readonly [string[], string]>(`
      const network = await openNetwork({ mode: 'bridge', bridgeName: 'bhalf', owner: D, subnet: '10.93.0.0/16' })
      await network.ensure()
      await network.plug({ instanceId: '00000000-0000-4000-8000-000000000001', ip: '10.93.0.20', mac: '02:be:0a:5d:00:14', ownerUid: 1879048999, downloadBytesPerSecond: null, uploadBytesPerSecond: null, ports: [], peerGroup: null })
      sh('ip link delete bhalf')
      sh('ip tuntap add dev bt12345678 mode tap user 1879048999; ip tuntap add dev bt87654321 mode tap user 1879048999; ip link set dev bt87654321 alias ' + D + '/gone')
      sh('ip tuntap add dev btffffffff mode tap user 1879048999; ip link set dev btffffffff alias ' + D + '; ip tuntap add dev bt00000000 mode tap user 1000')
      const found = await find()
      await clean()
      console.log(JSON.stringify([found, sh('ip -o link; nft list tables')]))`)
    assert.deepEqual(
      found.map((line) => line.replace(/bth[a-z2-9]{12}/, 'bth…').replace(/ \| a template was.*(?= \|)/, ' | who knows')),
      [
        'tap | bt12345678 | who knows | false',
        `tap | bt87654321 | its data directory ${dir}/gone is gone | true`,
        'tap | bth… | its bridge is gone, and no VM has it | true',
        'nftables table | bhalf | the bridge that it is for is gone | true',
      ].toSorted((a, b) => found.findIndex((line) => line.startsWith(a.slice(0, 9))) - found.findIndex((line) => line.startsWith(b.slice(0, 9)))),
    )
    assert.doesNotMatch(left, /bth|bhalf|bt87654321/)
    for (const tap of ['bt12345678', 'btffffffff', 'bt00000000']) assert.match(left, new RegExp(tap))
  })

  it('ends a VM all of whose files are gone, and no other', async () => {
    // Any process that is called like QEMU and has such files open.
    const [found, alive] = await onMachine<readonly [string[], boolean[]]>(`
      const vm = (dataDir, id) => {
        const at = D + '/' + dataDir + '/instances/' + id
        mkdirSync(at, { recursive: true })
        writeFileSync(at + '/app.log', '')
        const child = spawn('/bin/sleep', ['1000'], { argv0: 'qemu-system-x86_64', stdio: ['ignore', openSync(at + '/app.log', 'a'), openSync(at + '/app.log', 'a')] })
        child.ended = new Promise((resolve) => child.once('exit', () => resolve(true)))
        return child
      }
      const id = (n) => '00000000-0000-4000-8000-00000000000' + n
      const vms = [vm('one', id(1)), vm('two', id(2)), vm('three', id(3))]
      rmSync(D + '/one', { recursive: true })
      rmSync(D + '/three/instances', { recursive: true })
      const found = await find()
      await clean()
      await Promise.race([vms[0].ended, sleep(30_000, null, { ref: false })])
      console.log(JSON.stringify([found, vms.map(({ exitCode, signalCode }) => exitCode === null && signalCode === null)]))
      for (const { pid } of vms) try { process.kill(pid, 'SIGKILL') } catch {}`)
    assert.equal(found.length, 1)
    assert.match(found[0] ?? '', new RegExp(`^VM \\| process \\d+ \\| its files and its directory ${dir}/one are deleted \\| true$`))
    assert.deepEqual(alive, [false, true, true])
  })

  it('tells of a data directory that no server has, and of one that a server has nothing', async () => {
    mkdirSync(join(dir, 'idle/instances/x'), { recursive: true })
    writeFileSync(join(dir, 'idle/berth.db'), '')
    const [idle, served] = await onMachine<readonly [string[], string[]]>(`
      await bridge('bidle', D + '/idle', '10.94.0.0/16')
      console.log(JSON.stringify([await find(), lines(await look((dataDir) => dataDir === D + '/idle'))]))`)
    assert.deepEqual(idle, [`data directory | ${dir}/idle | no server runs over it (1 instance); start one with --data-dir, or delete the directory if nobody needs it | false`])
    assert.deepEqual(served, [])
  })

  it('says what it removed with --clean, and how to remove it without', async () => {
    const doctor = (flags: string) => `JSON.parse(execFileSync('${process.execPath}', ['${new URL('../src/cli/main.ts', import.meta.url).pathname}', 'doctor', '--json', '--data-dir', D + '/own'${flags}], { encoding: 'utf8', env: { PATH: process.env.PATH, BERTH_HOST: 'simulated', BERTH_ACCEL: 'tcg' } })).filter(({ name }) => name.startsWith('leftover'))`
    const [before, after, last] = await onMachine<readonly (readonly Check[])[]>(`
      await bridge('bgone', D + '/gone', '10.95.0.0/16')
      console.log(JSON.stringify([${doctor('')}, ${doctor(", '--clean'")}, ${doctor('')}]))`)
    assert.deepEqual(before, [{ name: 'leftover', status: 'warning', detail: `bridge bgone: its data directory ${dir}/gone is gone`, fix: 'Remove it with berth doctor --clean.' }])
    assert.deepEqual(after, [{ name: 'leftover', status: 'ok', detail: `bridge bgone is removed: its data directory ${dir}/gone is gone`, fix: null }])
    assert.deepEqual(last, [{ name: 'leftovers', status: 'ok', detail: 'nothing of a Berth that is gone', fix: null }])
  })
})
