/** What the tests of the guest's agent have alike: a workshop, machines of one test, and commands run to their end. */
import assert from 'node:assert/strict'
import { after, before } from 'node:test'
import type { ExecRequest, ExecSession } from '../src/engine/host-port.ts'
import type { GuestConfig } from '../src/host/guest-link/guest-config.ts'
import type { GuestLink } from '../src/host/guest-link/link.ts'
import { BerthError, type ErrorCode } from '../src/instance/errors.ts'
import { collect, Machine, PLAIN_CONFIG, Workshop } from './guest-vm.ts'

export let workshop: Workshop
export let busybox: string

/** A workshop, and the root of a busybox in it, for the tests of the file that calls this. */
export function useWorkshop(): void {
  before(async () => {
    workshop = await Workshop.open()
    busybox = await workshop.busyboxRoot('busybox')
  })
  after(async () => await workshop?.remove())
}

export function command(argv: readonly string[], more: Partial<ExecRequest> = {}): ExecRequest {
  return { command: argv, env: {}, workingDir: null, user: null, tty: null, timeoutMs: null, ...more }
}

export function shell(script: string, more: Partial<ExecRequest> = {}): ExecRequest {
  return command(['sh', '-c', script], more)
}

export async function finish(session: ExecSession): Promise<{ stdout: string; stderr: string; code: number; signal: number | null; timedOut: boolean }> {
  const output = await collect(session.output)
  return { ...output, ...(await session.exit) }
}

export async function runs(link: GuestLink, request: ExecRequest): ReturnType<typeof finish> {
  const session = await link.exec(request)
  await session.endInput()
  return await finish(session)
}

export function fails(code: ErrorCode, pattern: RegExp): (error: unknown) => true {
  return (error) => {
    assert(error instanceof BerthError, String(error))
    assert.equal(error.code, code, error.message)
    assert.match(error.message, pattern)
    return true
  }
}

export const SLEEPER = { command: ['sleep', '100000'], env: { FROM_APP: 'yes' }, workingDir: '/', user: '', stopSignal: null }

/** A machine with an overlay of its own, for one test. */
export async function withMachine(
  root: string,
  work: (machine: Machine, link: GuestLink) => Promise<void>,
  options: { readonly config?: GuestConfig; readonly memoryMb?: number; readonly disks?: Record<string, string>; readonly network?: boolean } = {},
): Promise<void> {
  const machine = await Machine.boot(workshop, {
    disks: { root, overlay: await workshop.ext4(), ...options.disks },
    memoryMb: options.memoryMb ?? 256,
    network: options.network ?? false,
  })
  try {
    const link = await machine.connect()
    assert.equal(link.status.state, 'unconfigured')
    await link.configure(options.config ?? PLAIN_CONFIG)
    await work(machine, link)
    link.close()
  } finally {
    await machine.kill()
  }
}
