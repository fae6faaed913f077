/** What clients do inside of a guest. These calls don't wait in the instance's lane: a command may run for days. */
import { auditArgv, auditWord } from '../instance/audit.ts'
import { checkCommand } from '../instance/command.ts'
import { asBerthError, BerthError } from '../instance/errors.ts'
import type { Instance, InstanceId } from '../instance/model.ts'
import { checkEnv } from '../instance/names.ts'
import { isServing } from '../instance/phase.ts'
import { ownInstance, requireScope } from './access.ts'
import type { Caller, Instances } from './api.ts'
import { instanceTarget } from './audit.ts'
import type { Core } from './core.ts'
import { readDirectory } from './directory.ts'
import type { Host, VmRef } from './host-port.ts'
import { refused } from './instances.ts'
import type { Meter } from './meter.ts'
import { refOf } from './vm-spec.ts'

/** How long an exec waits for an instance that it wakes. */
export const WAKE_LIMIT_MS = 120_000
const PATH_LIMIT_BYTES = 4095

type Guest = Pick<Instances, 'exec' | 'stat' | 'copyIn' | 'copyOut' | 'readDirectory' | 'logs' | 'stats' | 'statsHistory'>

export interface GuestParts {
  readonly core: Core
  readonly lifecycle: Pick<Instances, 'restore' | 'wait'>
  readonly meter: Pick<Meter, 'history'>
}

export function makeGuest({ core, lifecycle, meter }: GuestParts): Guest {
  const reader = core.store.read

  /** The VM of an instance that serves; otherwise `invalid_state`. */
  async function serving(caller: Caller, id: InstanceId, operation: string): Promise<{ host: Host; ref: VmRef; instance: Instance }> {
    const instance = await ownInstance(reader, caller, id)
    if (!isServing(instance.phase)) throw refused(operation, instance)
    return { host: core.fleet.link(instance.hostId).host, ref: refOf(instance), instance }
  }

  return {
    async exec(caller, id, request, options = {}) {
      requireScope(caller, 'exec')
      checkCommand(request.command)
      checkEnv(request.env)
      if (options.wake === true) await wakeInstance(core, lifecycle, caller, id)
      const { host, ref, instance } = await serving(caller, id, 'exec')
      const session = await host.exec(ref, request)
      const details = { argv: auditArgv(request.command), tty: request.tty !== null }
      const line = core.audit.later(caller, { action: 'instance.exec', target: instanceTarget(instance), details })
      session.exit.then(
        ({ code, timedOut }) => line.end({ exitCode: code, ...(timedOut ? { timedOut } : {}) }),
        (error: unknown) => line.end({ broken: asBerthError(error).code }),
      )
      return session
    },

    async stat(caller, id, path, options) {
      requireScope(caller, 'exec')
      checkPath(path)
      if (options.wake === true) await wakeInstance(core, lifecycle, caller, id)
      const { host, ref } = await serving(caller, id, 'stat')
      return host.stat(ref, path, { followLinks: options.followLinks })
    },

    async copyIn(caller, id, root, items) {
      requireScope(caller, 'exec')
      checkPath(root)
      const { host, ref, instance } = await serving(caller, id, 'copy')
      core.audit.later(caller, { action: 'instance.copy-in', target: instanceTarget(instance), details: { path: auditWord(root) } })
      return host.copyIn(ref, root, items)
    },

    async copyOut(caller, id, path, options) {
      requireScope(caller, 'exec')
      checkPath(path)
      const { host, ref, instance } = await serving(caller, id, 'copy')
      core.audit.later(caller, { action: 'instance.copy-out', target: instanceTarget(instance), details: { path: auditWord(path) } })
      return host.copyOut(ref, path, options)
    },

    async readDirectory(caller, id, path) {
      requireScope(caller, 'exec')
      checkPath(path)
      const { host, ref } = await serving(caller, id, 'copy')
      return readDirectory(path, host.copyOut(ref, path, { followLinks: true, shallow: true }))
    },

    async logs(caller, id, query) {
      requireScope(caller, 'read')
      const instance = await ownInstance(reader, caller, id)
      if (instance.hostId === null) throw new BerthError('log_not_found', 'There is no log yet: the instance waits for a host.')
      return core.fleet.link(instance.hostId).host.logs(refOf(instance), query)
    },

    async stats(caller, id) {
      requireScope(caller, 'read')
      const { host, ref } = await serving(caller, id, 'stats')
      return host.stats(ref)
    },

    async statsHistory(caller, id) {
      requireScope(caller, 'read')
      return meter.history(await ownInstance(reader, caller, id))
    },
  }
}

/** Brings a sleeping instance back, or waits for one that is on its way. */
export async function wakeInstance(core: Core, lifecycle: GuestParts['lifecycle'], caller: Caller, id: InstanceId): Promise<void> {
  const instance = await ownInstance(core.store.read, caller, id)
  const isOnItsWay = instance.desired === 'running' && !isServing(instance.phase) && ['allocated', 'preparing', 'starting', 'restoring'].includes(instance.phase)
  if (instance.phase !== 'standby' && !isOnItsWay) return
  // Waking is part of running a command: the exec scope is enough for it.
  const privileged: Caller = { ...caller, scopes: [...caller.scopes, 'read', 'write'] }
  const since = instance.phase === 'standby' ? await restoreOnce(lifecycle, privileged, id) : null
  const result = await lifecycle.wait(privileged, id, {
    until: ['running', 'unhealthy'],
    timeoutMs: WAKE_LIMIT_MS,
    ...(since === null ? {} : { since }),
  })
  if (result.failure !== null) throw new BerthError(result.failure.code, result.failure.message)
  if (result.timedOut) throw new BerthError('timeout', `The instance did not wake within ${WAKE_LIMIT_MS / 1000} s.`)
}

/** Of many who wake at once, the first one restores and the others wait with it. */
async function restoreOnce(lifecycle: GuestParts['lifecycle'], caller: Caller, id: InstanceId): Promise<Instance | null> {
  try {
    return await lifecycle.restore(caller, id)
  } catch (error) {
    if (error instanceof BerthError && error.code === 'invalid_state') return null
    throw error
  }
}

function checkPath(path: string): void {
  if (path === '') throw new BerthError('guest_path', 'The path is empty: give one like /root/file.')
  if (path.includes('\0')) throw new BerthError('guest_path', 'The path holds a zero byte.')
  if (Buffer.byteLength(path) > PATH_LIMIT_BYTES) throw new BerthError('guest_path', `The path is longer than ${PATH_LIMIT_BYTES} bytes.`)
}
