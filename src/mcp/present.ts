/** Berth's records → what tools answer. Pure. Values of variables are never told: they may be secrets. */
import { healthNow } from '../instance/health.ts'
import { spellId } from '../instance/ids.ts'
import type { Instance, InstanceEvent, TimestampMs } from '../instance/model.ts'
import { koyebStatus, koyebWords } from '../instance/projection.ts'
import { ANNOTATION } from '../instance/service.ts'
import type * as wire from './schema.ts'

const MIB = 2 ** 20

export function presentTime(at: TimestampMs): string {
  return new Date(at).toISOString()
}

export function timeOrNull(at: TimestampMs | null): string | null {
  return at === null ? null : presentTime(at)
}

export function presentSummary(instance: Instance): wire.Summary {
  const { spec, annotations } = instance
  const index = Number(annotations[ANNOTATION.index])
  return {
    id: instance.id,
    name: spec.name,
    status: koyebStatus(instance.phase),
    phase: instance.phase,
    image: spec.image,
    type: annotations[ANNOTATION.type] ?? spec.place?.type ?? null,
    region: annotations[ANNOTATION.region] ?? spec.place?.region ?? null,
    app_id: annotations[ANNOTATION.app] ?? null,
    service_id: annotations[ANNOTATION.service] ?? null,
    deployment_id: annotations[ANNOTATION.deployment] ?? null,
    replica_index: Number.isSafeInteger(index) ? index : null,
    created_at: presentTime(instance.createdAt),
    updated_at: presentTime(instance.phaseSince),
  }
}

export function presentInstance(instance: Instance): wire.Instance {
  const { spec, exit } = instance
  const health = healthNow(instance)
  return {
    ...presentSummary(instance),
    desired: instance.desired,
    reason: instance.reason,
    error_code: instance.errorCode,
    exit: exit === null ? null : { code: exit.code, signal: exit.signal, message: exit.message },
    ids: {
      hypeman: spellId('instance', 'hypeman', instance.id),
      lambda: spellId('instance', 'lambda', instance.id),
      mithril: spellId('instance', 'mithril', instance.id),
    },
    vcpus: spec.vcpus,
    memory_mib: spec.memoryBytes / MIB,
    disk_mib: spec.overlayBytes / MIB,
    ip: instance.address?.ip ?? null,
    ports: spec.network.ports.map(({ hostPort, guestPort, protocol }) => ({ host_port: hostPort, guest_port: guestPort, protocol })),
    volumes: spec.volumes.map(({ volumeId, path, mode }) => ({ id: volumeId, path, mode })),
    file_systems: spec.fileSystems.map(({ fileSystemId, path }) => ({ id: fileSystemId, path })),
    firewalls: spec.firewallRulesets === null ? null : [...spec.firewallRulesets],
    entrypoint: spec.entrypoint === null ? null : [...spec.entrypoint],
    command: spec.cmd === null ? null : [...spec.cmd],
    env_names: Object.keys(spec.env),
    secrets: [...(spec.secrets ?? [])],
    secret_env: { ...spec.secretEnv },
    tags: { ...spec.tags },
    health: health === null ? null : { status: health.status, message: health.message },
    sleeps_after_s: spec.idleAfterMs === undefined || spec.idleAfterMs === null ? null : spec.idleAfterMs / 1000,
    restart: spec.restart.kind,
    started_at: timeOrNull(instance.startedAt),
    stopped_at: timeOrNull(instance.stoppedAt),
    expires_at: timeOrNull(spec.expiresAt),
  }
}

export function presentBrief(instance: Instance): wire.Brief {
  const { id, name, status, phase, image, type, region, vcpus, memory_mib, disk_mib, ip, ports, reason, error_code, exit, created_at, expires_at } = presentInstance(instance)
  return { id, name, status, phase, image, type, region, vcpus, memory_mib, disk_mib, ip, ports, reason, error_code, exit, created_at, expires_at }
}

/** One line: `web 2f4b…: HEALTHY (running), alpine, 10.100.0.5`. */
export function instanceLine(instance: Instance): string {
  const ip = instance.address === null ? '' : `, ${instance.address.ip}`
  const why = instance.reason === null ? '' : `; ${instance.reason}`
  return `${instance.spec.name} ${instance.id}: ${koyebStatus(instance.phase)} (${instance.phase}), ${instance.spec.image}${ip}${why}`
}

/** The type of events that are no step: what the server noted about an instance. */
export const NOTE_EVENT = 'NOTE'

export function presentEvent(event: InstanceEvent): wire.Event {
  const words = koyebWords(event.to)
  return {
    id: String(event.seq),
    when: presentTime(event.at),
    instance_id: event.instanceId,
    type: event.kind === 'phase' ? words.event : NOTE_EVENT,
    message: event.reason ?? `The instance ${words.sentence}.`,
    status: words.status,
    phase: event.to,
  }
}

export function eventLine(event: InstanceEvent): string {
  const { when, type, message, instance_id: id } = presentEvent(event)
  return `${when} ${id} ${type} ${message}`
}
