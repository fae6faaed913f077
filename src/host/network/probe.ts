/**
 * Health checks from the host: one connection to a port of a guest, or one HTTP request, with a deadline.
 *
 * Guests are reached at their address over the bridge; where QEMU plays the network, only through a published port.
 */
import { once } from 'node:events'
import { request as requestHttp } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { request as requestHttps } from 'node:https'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import type { HealthProbe, ProbeResult } from '../../instance/health.ts'
import type { VmNetwork } from '../../engine/host-port.ts'
import type { NetworkMode } from './network.ts'

export type NetworkProbe = Exclude<HealthProbe, { readonly kind: 'exec' }>

export interface PortDoor {
  readonly host: string
  readonly port: number
}

/** Where a guest's port is reached from here; null is nowhere. */
export function doorOf(network: VmNetwork | null, guestPort: number, mode: NetworkMode): PortDoor | null {
  if (network === null || mode === 'none') return null
  if (mode === 'bridge') return { host: network.ip, port: guestPort }
  const published = network.ports.find((mapping) => mapping.guestPort === guestPort && mapping.protocol === 'tcp')
  return published === undefined ? null : { host: '127.0.0.1', port: published.hostPort }
}

/** `onSocket` is told of the connection that is being made. */
export async function askPort(door: PortDoor, probe: NetworkProbe, timeoutMs: number, onSocket: (socket: Socket) => void = () => {}): Promise<ProbeResult> {
  const signal = AbortSignal.timeout(timeoutMs)
  try {
    return await (probe.kind === 'tcp' ? askTcp(door, signal, onSocket) : askHttp(door, probe, signal, onSocket))
  } catch (error) {
    // Whatever went wrong is the answer of this check.
    const why = signal.aborted ? `no answer within ${timeoutMs} ms` : error instanceof Error ? error.message : String(error)
    return { kind: 'failed', reason: why === '' ? 'the connection failed' : why }
  }
}

async function askTcp(door: PortDoor, signal: AbortSignal, onSocket: (socket: Socket) => void): Promise<ProbeResult> {
  const socket = connect(door)
  onSocket(socket)
  try {
    await once(socket, 'connect', { signal })
    return { kind: 'passed' }
  } finally {
    socket.on('error', () => {})
    socket.destroy()
  }
}

async function askHttp(door: PortDoor, probe: Extract<NetworkProbe, { kind: 'http' }>, signal: AbortSignal, onSocket: (socket: Socket) => void): Promise<ProbeResult> {
  const send = probe.scheme === 'https' ? requestHttps : requestHttp
  // A guest's certificate proves nothing here: only that it answers is asked.
  const options = { ...door, path: probe.path, method: probe.method, headers: probe.headers, agent: false, signal, rejectUnauthorized: false }
  const sent = send(options)
  sent.once('socket', onSocket)
  // After the answer nobody waits for what the connection does.
  sent.on('error', () => {})
  sent.end()
  const [answer] = (await once(sent, 'response', { signal })) as [IncomingMessage]
  const status = answer.statusCode ?? 0
  answer.destroy()
  const passes = probe.expectedStatus === null ? status >= 200 && status < 400 : status === probe.expectedStatus
  return passes ? { kind: 'passed' } : { kind: 'failed', reason: `${probe.method} ${probe.path} answered ${status}` }
}
