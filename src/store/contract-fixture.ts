/** What the contract of a store is tried on: records with something in every field, and the store that a test works on. */
import assert from 'node:assert/strict'
import type { Reservation, Store } from '../engine/store-port.ts'
import { BerthError, type ErrorCode } from '../instance/errors.ts'
import { ID_BYTES, newId, type IdKind } from '../instance/ids.ts'
import type { HostId, ImageDigest, Instance, InstanceEvent, InstanceId, Volume } from '../instance/model.ts'
import type { Phase } from '../instance/phase.ts'

export interface StoreUnderTest {
  readonly store: Store
  /** Closes the store and opens another over the same data. */
  reopen(): Promise<Store>
  /** Closes and removes all. */
  dispose(): Promise<void>
}

/** The store that a test works on now; another object after it was opened again. */
export interface StoreBench {
  store: Store
  /** Closes the store and opens another over the same data. */
  reopen(): Promise<Store>
  insert(...instances: readonly Instance[]): Promise<void>
  append(...events: readonly Omit<InstanceEvent, 'seq'>[]): Promise<readonly InstanceEvent[]>
}

export function anId<K extends IdKind>(kind: K) {
  return newId(kind, crypto.getRandomValues(new Uint8Array(ID_BYTES)))
}

export const HOST = 'host-1' as HostId

/** An instance with something in every field. */
export function anInstance(change: Partial<Instance> = {}, spec: Partial<Instance['spec']> = {}): Instance {
  return {
    id: anId('instance'),
    projectId: anId('project'),
    spec: {
      name: `i-${crypto.randomUUID()}`,
      image: 'alpine',
      vcpus: 2,
      memoryBytes: 2 ** 30,
      hotplugBytes: 0,
      overlayBytes: 10 * 2 ** 30,
      diskIoBytesPerSecond: null,
      env: { GREETING: 'héllo "wörld"\n\u0001' },
      entrypoint: null,
      cmd: ['sh', '-c', 'true'],
      user: null,
      workingDir: '/srv',
      hostname: null,
      network: {
        enabled: true,
        downloadBytesPerSecond: 125_000_000,
        uploadBytesPerSecond: null,
        ports: [{ hostPort: 8080, guestPort: 80, protocol: 'tcp' }],
      },
      volumes: [{ volumeId: anId('volume'), path: '/data', mode: 'overlay', overlayBytes: 2 ** 20 }],
      fileSystems: [{ fileSystemId: anId('fileSystem'), path: '/shared' }],
      firewallRulesets: [anId('firewallRuleset')],
      restart: { kind: 'on-failure', backoffMs: 5000, maxAttempts: 0, stableAfterMs: 600_000 },
      afterHostRestart: 'restart',
      tags: { team: 'blue', 'a "quoted" key': "it's" },
      sshKeys: [],
      stopGraceMs: 10_000,
      removeWhenStopped: false,
      expiresAt: 1_900_000_000_000.25,
      ...spec,
    },
    imageDigest: `sha256:${'a'.repeat(64)}` as ImageDigest,
    desired: 'running',
    phase: 'running',
    phaseSince: 1_800_000_000_000.125,
    reason: 'because',
    errorCode: null,
    hostId: HOST,
    address: { ip: '10.9.0.2', mac: '02:00:00:00:00:01', network: 'default' },
    basis: anId('snapshot'),
    generation: 3,
    exit: { code: 137, signal: 9, message: 'out of memory' },
    restartAttempts: 2,
    createdAt: 1_800_000_000_000,
    startedAt: 1_800_000_000_001.5,
    stoppedAt: null,
    deletedAt: null,
    origin: 'hypeman',
    annotations: { service: 'web' },
    ...change,
  }
}

export function anEvent(instance: Instance, to: Phase = 'pending', change: Partial<InstanceEvent> = {}): Omit<InstanceEvent, 'seq'> {
  return { instanceId: instance.id, projectId: instance.projectId, at: 1.5, kind: 'phase', from: null, to, reason: null, ...change }
}

export function aReservation(instanceId: InstanceId, change: Partial<Reservation> = {}): Reservation {
  return { instanceId, hostId: HOST, vcpus: 2, memoryBytes: 2 ** 31, diskBytes: 2 ** 33, ip: null, ports: [], slot: null, ...change }
}

export function aVolume(change: Partial<Volume> = {}): Volume {
  return {
    id: anId('volume'),
    projectId: anId('project'),
    name: 'data',
    sizeBytes: 2 ** 40,
    tags: { k: 'v' },
    status: 'ready',
    error: null,
    createdAt: 1.5,
    attachments: [],
    ...change,
  }
}

export async function refused(code: ErrorCode, work: Promise<unknown>): Promise<BerthError> {
  const error: unknown = await work.then(
    () => assert.fail(`expected ${code}`),
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof BerthError, String(error))
  assert.equal(error.code, code, error.message)
  return error
}
