/**
 * A laboratory for tests of the network: namespaces that are guests (on real taps) and one that is the
 * outside world. Nothing in it ever leaves the machine. Needs root, `cc`, `ip`, `nft`, `tc`.
 */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { macOf } from '../src/instance/address.ts'
import type { InstanceId } from '../src/instance/model.ts'
import { CommandFailed, runCommand } from '../src/host/command.ts'
import type { Network, Plug, PlugRequest } from '../src/host/network/network.ts'

/** Who may open the taps: nobody's uid, as QEMU's user would be. */
export const TAP_OWNER = 65534
/** How long a connection that must work may take on a busy machine. */
const REACH_TIMEOUT_MS = 20_000
/** How long one that must not work is waited for. */
const BLOCKED_TIMEOUT_MS = 1_500

/** Networks that a laboratory may take. */
const FIRST_OCTET = 100
const OCTETS = 100

export interface Lab {
  readonly name: string
  readonly bridge: string
  readonly subnet: string
  /** The host as the outside sees it, and the outside. */
  readonly hostIp: string
  readonly outsideIp: string
  readonly outside: string
  ip(index: number): string
  request(index: number, more?: Partial<PlugRequest>): PlugRequest
  /** Plugs an instance and boots a namespace as its guest. */
  guest(network: Network, index: number, more?: Partial<PlugRequest>): Promise<Guest>
  close(): Promise<void>
}

export interface Guest {
  readonly space: string
  readonly tap: string
  readonly ip: string
  readonly instanceId: InstanceId
  run(tool: string, ...args: string[]): Promise<string>
  /** Pulls the cable out: what the end of QEMU does. */
  unplugCable(): Promise<void>
}

export type Protocol = 'tcp' | 'udp'

/** `seed` keeps labs of different test files apart. */
export async function openLab(seed: number): Promise<Lab> {
  const octet = await freeOctet(process.pid + seed * 17)
  const name = `bl${seed}${process.pid % 100000}`
  const subnet = `10.${octet}.0.0/16`
  const [hostIp, outsideIp] = [`198.18.${octet}.1`, `198.18.${octet}.2`]
  const directory = await mkdtemp(join(tmpdir(), 'berth-network-'))
  const cable = join(directory, 'network-cable')
  await runCommand('cc', ['-O1', '-o', cable, join(import.meta.dirname, 'network-cable.c')], { timeoutMs: 60_000 })
  const spaces: string[] = []
  const cables: ChildProcess[] = []
  const addSpace = async (space: string) => {
    await runCommand('ip', ['netns', 'add', space])
    spaces.push(space)
    await inside(space, 'ip', 'link', 'set', 'lo', 'up')
  }
  const outside = `${name}-out`
  await addSpace(outside)
  await runCommand('ip', ['link', 'add', `${name}o`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', outside])
  await runCommand('ip', ['address', 'add', `${hostIp}/24`, 'dev', `${name}o`])
  await runCommand('ip', ['link', 'set', `${name}o`, 'up'])
  await inside(outside, 'ip', 'address', 'add', `${outsideIp}/24`, 'dev', 'eth0')
  await inside(outside, 'ip', 'link', 'set', 'eth0', 'up')

  const ip = (index: number) => `10.${octet}.0.${10 + index}`
  const request = (index: number, more: Partial<PlugRequest> = {}): PlugRequest => ({
    instanceId: `00000000-0000-4000-8000-${String(index).padStart(12, '0')}` as InstanceId,
    ip: ip(index),
    mac: macOf(ip(index)),
    ownerUid: TAP_OWNER,
    downloadBytesPerSecond: null,
    uploadBytesPerSecond: null,
    ports: [],
    peerGroup: null,
    ...more,
  })
  return {
    name,
    bridge: name,
    subnet,
    hostIp,
    outsideIp,
    outside,
    ip,
    request,
    guest: async (network, index, more) => {
      const wanted = request(index, more)
      const tap = tapOf(await network.plug(wanted))
      const space = `${name}-g${index}`
      await addSpace(space)
      const child = spawn(cable, [tap, String(wanted.ownerUid), `/run/netns/${space}`, 'eth0', wanted.mac], { stdio: ['pipe', 'pipe', 'inherit'] })
      cables.push(child)
      const ended = once(child, 'exit')
      await Promise.race([once(child.stdout, 'data'), ended.then(() => Promise.reject(new Error('the cable broke')))])
      await inside(space, 'ip', 'address', 'add', `${wanted.ip}/16`, 'dev', 'eth0')
      await inside(space, 'ip', 'link', 'set', 'eth0', 'up')
      await inside(space, 'ip', 'route', 'add', 'default', 'via', `10.${octet}.0.1`)
      return {
        space,
        tap,
        ip: wanted.ip,
        instanceId: wanted.instanceId,
        run: (tool, ...args) => inside(space, tool, ...args),
        unplugCable: async () => {
          child.stdin.end()
          await ended
        },
      }
    },
    close: async () => {
      for (const child of cables) {
        if (child.exitCode !== null || child.signalCode !== null) continue
        const ended = once(child, 'exit')
        child.kill('SIGKILL')
        await ended
      }
      for (const space of spaces) await runCommand('ip', ['netns', 'delete', space])
      // The host's end of the veth pair goes with its peer, but not at once.
      await runCommand('ip', ['link', 'delete', `${name}o`]).catch(() => undefined)
      await rm(directory, { recursive: true, force: true })
    },
  }
}

/** The second byte of a network 10.x/16 (and third of 198.18.x/24) that the machine has no route to yet. */
async function freeOctet(start: number): Promise<number> {
  const routes = await runCommand('ip', ['-4', 'route', 'show'])
  for (let tries = 0; tries < OCTETS; tries++) {
    const octet = FIRST_OCTET + ((start + tries) % OCTETS)
    if (!routes.includes(`10.${octet}.`) && !routes.includes(`198.18.${octet}.`)) return octet
  }
  throw new Error('no free network for the laboratory')
}

export function tapOf(plug: Plug): string {
  if (plug.kind !== 'tap') throw new Error(`not a tap: ${plug.kind}`)
  return plug.tap
}

export function inside(space: string, tool: string, ...args: string[]): Promise<string> {
  return runCommand('ip', ['netns', 'exec', space, tool, ...args], { timeoutMs: 60_000 })
}

/** A server on every address of `space` (null is the host) that answers each client with the client's address. */
export async function serve(space: string | null, protocol: Protocol, port: number): Promise<() => Promise<void>> {
  const script =
    protocol === 'tcp'
      ? `require('net').createServer(s => { s.on('error', () => {}); s.end('you are ' + s.remoteAddress.replace('::ffff:', '')) }).listen(${port}, '0.0.0.0', () => console.log('ready'))`
      : `const u = require('dgram').createSocket('udp4'); u.on('message', (m, from) => u.send('you are ' + from.address, from.port, from.address)); u.bind(${port}, () => console.log('ready'))`
  return startNode(space, script)
}

/** Starts a node script that prints a line when it is ready; the returned function ends it. */
export async function startNode(space: string | null, script: string): Promise<() => Promise<void>> {
  const [tool, args] = nodeIn(space, script)
  const child = spawn(tool, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'exit')
  await Promise.race([once(child.stdout, 'data'), ended.then(() => Promise.reject(new Error('the server ended')))])
  return async () => {
    child.kill('SIGKILL')
    await ended
  }
}

/** The address that the server sees, or throws after a long time: for what must work. */
export async function reach(space: string | null, protocol: Protocol, host: string, port: number): Promise<string> {
  const answer = await ask(space, protocol, host, port, REACH_TIMEOUT_MS)
  if (!answer.startsWith('you are ')) throw new Error(`${space ?? 'host'} can't reach ${host}:${port}/${protocol}: ${answer}`)
  return answer.slice('you are '.length)
}

/** Throws if there is an answer: for what must not work. */
export async function expectBlocked(space: string | null, protocol: Protocol, host: string, port: number): Promise<void> {
  const answer = await ask(space, protocol, host, port, BLOCKED_TIMEOUT_MS)
  if (answer.startsWith('you are ')) throw new Error(`${space ?? 'host'} reaches ${host}:${port}/${protocol} (${answer}) and should not`)
}

/** Whether a ping is answered; tried several times if it should be. */
export async function pings(space: string, host: string, expected: boolean): Promise<boolean> {
  for (let tries = expected ? 10 : 2; tries > 0; tries--) {
    try {
      await inside(space, 'busybox', 'ping', '-c', '1', '-W', expected ? '2' : '1', host)
      return true
    } catch (error) {
      // busybox ends with status 1 when nothing came back: that is an answer too.
      if (!(error instanceof CommandFailed && error.status === 1)) throw error
    }
  }
  return false
}

async function ask(space: string | null, protocol: Protocol, host: string, port: number, timeoutMs: number): Promise<string> {
  const script =
    protocol === 'tcp'
      ? `const end = Date.now() + ${timeoutMs}
         const done = (text) => { console.log(text); process.exit(0) }
         const go = () => {
           const s = require('net').connect({ host: '${host}', port: ${port} })
           let got = ''
           s.on('data', (d) => { got += d }); s.on('end', () => done(got)); s.on('error', (e) => Date.now() < end && e.code === 'ECONNREFUSED' ? setTimeout(go, 100) : done(e.code))
         }
         setTimeout(() => done('nothing'), ${timeoutMs}); go()`
      : `const u = require('dgram').createSocket('udp4')
         const done = (text) => { console.log(text); process.exit(0) }
         u.on('message', (m) => done(String(m))); u.on('error', (e) => done(e.code))
         u.connect(${port}, '${host}', () => { u.send('x', () => {}); setInterval(() => u.send('x', () => {}), 300) })
         setTimeout(() => done('nothing'), ${timeoutMs})`
  const [tool, args] = nodeIn(space, script)
  return (await runCommand(tool, args, { timeoutMs: timeoutMs + 30_000 })).trim()
}

export function nodeIn(space: string | null, script: string): [string, string[]] {
  const node = [process.execPath, '-e', script]
  return space === null ? [process.execPath, node.slice(1)] : ['ip', ['netns', 'exec', space, ...node]]
}
