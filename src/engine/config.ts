/**
 * What an operator can set about the engine, and what a newcomer gets. Every limit has a name and a unit.
 */

/** How much more than the machine has may be promised to instances. */
export interface Overcommit {
  readonly cpu: number
  readonly memory: number
  readonly disk: number
  readonly network: number
}

/** What one request may ask for. */
export interface Limits {
  readonly maxVcpus: number
  readonly minMemoryBytes: number
  /** Memory and what may be plugged in later, together. */
  readonly maxMemoryBytes: number
  readonly minOverlayBytes: number
  readonly maxOverlayBytes: number
  readonly maxVolumeBytes: number
  readonly maxStopGraceMs: number
  readonly maxPorts: number
  readonly maxInstancesPerProject: number
  readonly maxVolumesPerProject: number
  readonly maxImagesPerProject: number
  readonly maxSnapshotsPerProject: number
  /** Pulls that wait; one more is `rate_limited`. */
  readonly maxQueuedPulls: number
  readonly maxAnnotationsBytes: number
}

/** How long the engine gives a host for one call. After that the instance is `lost` until the host says what is so. */
export interface Deadlines {
  readonly prepareMs: number
  readonly startMs: number
  /** On top of the grace that the application gets. */
  readonly stopMs: number
  readonly suspendMs: number
  readonly resumeMs: number
  readonly destroyMs: number
  readonly inventoryMs: number
  readonly volumeMs: number
  /** Copying disks, where the file system can't share their blocks. */
  readonly snapshotMs: number
}

/** How the market sells. */
export interface MarketConfig {
  /** Between the notice of a preemption and its stop. */
  readonly noticeMs: number
  /** The least that a bid may offer, as a part of the catalogue's price; rounded up to a whole cent, one at least. */
  readonly floorShare: number
  readonly minReservationMs: number
  readonly maxReservationMs: number
  /** What an hour of a paused, or of a returned, instance of a reservation brings back, as a part of its price. */
  readonly pauseBuybackShare: number
  readonly returnBuybackShare: number
  /** Before an instance of an order that could not be launched is tried again. */
  readonly retryMs: number
}

export interface EngineConfig {
  readonly market: MarketConfig
  readonly overcommit: Overcommit
  readonly limits: Limits
  readonly deadlines: Deadlines
  /** Images that belong to every project; the host makes or finds them when it is asked to pull them. */
  readonly builtinImages: readonly string[]
  /** Pulls at once. */
  readonly parallelPulls: number
  /** How often each host is asked what really runs, beside its events. */
  readonly heartbeatMs: number
  /** Between two looks at what the replicas of services that scale by themselves use. */
  readonly autoscaleMs: number
  /** The same while a host is silent or an instance is lost. */
  readonly probeMs: number
  /** First and longest pause before a piece of the engine's own work is tried again. */
  readonly retryMs: { readonly first: number; readonly longest: number }
  /** How often stopping, deleting and rolling back are tried before the instance is `failed`. */
  readonly attempts: number
  /** How long `close` waits for operations in flight. */
  readonly closeGraceMs: number
  /** How long an authenticated key is believed without asking the store. */
  readonly keyCacheMs: number
  /** `lastUsedAt` of a key is written at most this often. */
  readonly keyTouchMs: number
  /** The audit trail keeps lines this long, and this many of them. */
  readonly auditKeepMs: number
  readonly auditKeepLines: number
}

const MIB = 2 ** 20
const HOUR_MS = 3_600_000
const GIB = 2 ** 30

export const DEFAULT_CONFIG: EngineConfig = {
  overcommit: { cpu: 4, memory: 1, disk: 1, network: 2 },
  limits: {
    maxVcpus: 16,
    minMemoryBytes: 64 * MIB,
    maxMemoryBytes: 32 * GIB,
    minOverlayBytes: 16 * MIB,
    maxOverlayBytes: 100 * GIB,
    maxVolumeBytes: 1024 * GIB,
    maxStopGraceMs: 600_000,
    maxPorts: 64,
    maxInstancesPerProject: 100_000,
    maxVolumesPerProject: 10_000,
    maxImagesPerProject: 10_000,
    maxSnapshotsPerProject: 10_000,
    maxQueuedPulls: 100,
    maxAnnotationsBytes: 65_536,
  },
  deadlines: {
    prepareMs: 120_000,
    startMs: 300_000,
    stopMs: 60_000,
    suspendMs: 300_000,
    resumeMs: 180_000,
    destroyMs: 120_000,
    inventoryMs: 30_000,
    volumeMs: 120_000,
    snapshotMs: 600_000,
  },
  market: {
    noticeMs: 300_000,
    floorShare: 0.25,
    minReservationMs: 3 * HOUR_MS,
    maxReservationMs: 14 * 24 * HOUR_MS,
    pauseBuybackShare: 0.5,
    returnBuybackShare: 0.25,
    retryMs: 5000,
  },
  builtinImages: ['localhost/busybox'],
  parallelPulls: 2,
  heartbeatMs: 30_000,
  autoscaleMs: 5000,
  probeMs: 2000,
  retryMs: { first: 200, longest: 30_000 },
  attempts: 3,
  closeGraceMs: 10_000,
  keyCacheMs: 5000,
  keyTouchMs: 60_000,
  auditKeepMs: 90 * 24 * 3_600_000,
  auditKeepLines: 1_000_000,
}

/** The defaults with an operator's changes on top, section by section. */
export function engineConfig(changes: EngineConfigChanges = {}): EngineConfig {
  return {
    ...DEFAULT_CONFIG,
    ...changes,
    overcommit: { ...DEFAULT_CONFIG.overcommit, ...changes.overcommit },
    limits: { ...DEFAULT_CONFIG.limits, ...changes.limits },
    deadlines: { ...DEFAULT_CONFIG.deadlines, ...changes.deadlines },
    retryMs: { ...DEFAULT_CONFIG.retryMs, ...changes.retryMs },
    market: { ...DEFAULT_CONFIG.market, ...changes.market },
  }
}

export type EngineConfigChanges = Partial<Omit<EngineConfig, 'overcommit' | 'limits' | 'deadlines' | 'retryMs' | 'market'>> & {
  readonly overcommit?: Partial<Overcommit>
  readonly limits?: Partial<Limits>
  readonly deadlines?: Partial<Deadlines>
  readonly retryMs?: Partial<EngineConfig['retryMs']>
  readonly market?: Partial<MarketConfig>
}
