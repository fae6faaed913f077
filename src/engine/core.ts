/** What every part of the engine stands on; made once by the front door and passed along. */
import type { EngineConfig } from './config.ts'
import type { AuditTrail } from './audit.ts'
import type { EventBus } from './event-bus.ts'
import type { Fleet } from './fleet.ts'
import type { Journal } from './journal.ts'
import type { Store } from './store-port.ts'
import type { Catalogue } from '../instance/catalogue.ts'
import type { Image, InstanceId, ProjectId } from '../instance/model.ts'

/** The part of pino that the engine uses. */
export interface Logger {
  debug(details: object, message: string): void
  info(details: object, message: string): void
  warn(details: object, message: string): void
  error(details: object, message: string): void
}

/** What the reconcile loop asks of images. */
export interface ImageLookUp {
  /** By any spelling of the name; null if the project doesn't know it. */
  lookUp(projectId: ProjectId, name: string): Promise<Image | null>
  /** Whether a normalised name is one of those that belong to every project. */
  isBuiltIn(name: string): boolean
}

export interface Core {
  readonly store: Store
  readonly images: ImageLookUp
  /** Milliseconds that a stop in progress gives the application, where its request said so. */
  readonly graces: Map<InstanceId, number>
  readonly fleet: Fleet
  readonly journal: Journal
  readonly bus: EventBus
  readonly audit: AuditTrail
  readonly config: EngineConfig
  /** Types of instance, regions and prices. */
  readonly catalogue: Catalogue
  readonly logger: Logger
  /** Unix milliseconds. */
  readonly now: () => number
  readonly randomBytes: (count: number) => Uint8Array
}
