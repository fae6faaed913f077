/** The front of the engine that puts refused calls into the audit trail: who wanted what, and why not. */
import type { AuditDetails, AuditTarget } from '../instance/audit.ts'
import { auditArgv } from '../instance/audit.ts'
import { asBerthError } from '../instance/errors.ts'
import type { Caller, Engine } from './api.ts'
import type { AuditTrail } from './audit.ts'

type Room = 'instances' | 'images' | 'volumes' | 'snapshots' | 'keys' | 'sshKeys' | 'secrets' | 'fileSystems' | 'firewalls' | 'projects' | 'services' | 'market'

/** Calls that change something or reach into a guest, and the action that each one is in the trail. */
const ACTIONS: { readonly [R in Room]: Readonly<Partial<Record<keyof Engine[R], string>>> } = {
  instances: {
    create: 'instance.create',
    start: 'instance.start',
    stop: 'instance.stop',
    restart: 'instance.restart',
    standby: 'instance.standby',
    restore: 'instance.restore',
    delete: 'instance.delete',
    update: 'instance.update',
    reshape: 'instance.reshape',
    attachVolume: 'instance.attach-volume',
    detachVolume: 'instance.detach-volume',
    exec: 'instance.exec',
    copyIn: 'instance.copy-in',
    copyOut: 'instance.copy-out',
  },
  images: { pull: 'image.pull', import: 'image.import', tag: 'image.tag', delete: 'image.delete' },
  volumes: { create: 'volume.create', delete: 'volume.delete' },
  snapshots: {
    create: 'instance.snapshot',
    delete: 'snapshot.delete',
    restore: 'instance.restore-snapshot',
    forkInstance: 'instance.fork',
    forkSnapshot: 'snapshot.fork',
  },
  keys: { create: 'key.create', delete: 'key.delete' },
  sshKeys: { create: 'ssh-key.create', delete: 'ssh-key.delete' },
  secrets: { set: 'secret.set', delete: 'secret.delete' },
  fileSystems: { create: 'file-system.create', delete: 'file-system.delete', resize: 'file-system.resize', attach: 'instance.attach-file-system', detach: 'instance.detach-file-system' },
  firewalls: { create: 'firewall-ruleset.create', update: 'firewall-ruleset.update', delete: 'firewall-ruleset.delete', setGlobalRules: 'firewall-rules.update', assign: 'instance.firewall' },
  projects: { create: 'project.create', update: 'project.update' },
  services: {
    createApp: 'app.create',
    updateApp: 'app.update',
    deleteApp: 'app.delete',
    create: 'service.create',
    deploy: 'service.deploy',
    scale: 'service.scale',
    pause: 'service.pause',
    resume: 'service.resume',
    delete: 'service.delete',
    cancelDeployment: 'deployment.cancel',
  },
  market: {
    placeBid: 'bid.place',
    updateBid: 'bid.update',
    endBid: 'bid.end',
    reserve: 'reservation.place',
    updateReservation: 'reservation.update',
    extendReservation: 'reservation.extend',
    returnInstances: 'reservation.return',
    cancelReservation: 'reservation.cancel',
  },
}

/** The same room, whose refusals leave a line. */
export function tellingRefusals<R extends Room>(trail: AuditTrail, room: R, api: Engine[R]): Engine[R] {
  const told: Partial<Record<keyof Engine[R], unknown>> = {}
  for (const [name, action] of Object.entries(ACTIONS[room]) as [keyof Engine[R], string][]) {
    const call = api[name] as (caller: Caller, ...rest: unknown[]) => Promise<unknown>
    told[name] = async (caller: Caller, ...rest: unknown[]) => {
      try {
        return await call(caller, ...rest)
      } catch (error) {
        trail.later(caller, { action, target: targetOf(action, rest[0]), outcome: asBerthError(error).code, details: detailsOf(rest[1]) })
        throw error
      }
    }
  }
  return { ...api, ...told }
}

/** Of a command, what it was. */
function detailsOf(wish: unknown): AuditDetails {
  const isCommand = typeof wish === 'object' && wish !== null && 'command' in wish && Array.isArray(wish.command)
  return isCommand ? { argv: auditArgv((wish.command as unknown[]).filter(word => typeof word === 'string')) } : {}
}

/** The calls name what they act on by an id, or describe what is to be made. */
function targetOf(action: string, subject: unknown): AuditTarget {
  const kind = action.split('.')[0] ?? action
  if (typeof subject === 'string') return { kind, id: subject, name: null }
  const name = typeof subject === 'object' && subject !== null && 'name' in subject && typeof subject.name === 'string' ? subject.name : null
  return { kind, id: null, name }
}
