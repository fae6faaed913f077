/** The wire's types: all that the dashboard shares with the server's code. */
import type { InstanceCostBody, PricePeriodBody, UsageBody } from '../../dialects/native/schema/market.ts'

export type { KeyBody as Key, ProjectBody as Project } from '../../dialects/native/schema/access.ts'
export type { AuditBody as AuditLine } from '../../dialects/native/schema/audit.ts'
export type { CatalogueBody as Catalogue } from '../../dialects/native/schema/catalogue.ts'
export type { EventBody as InstanceEvent } from '../../dialects/native/schema/events.ts'
export type { FileSystemBody as FileSystem } from '../../dialects/native/schema/file-systems.ts'
export type { FirewallBody as Firewall, FirewallRuleBody as FirewallRule, GlobalRulesBody as GlobalRules } from '../../dialects/native/schema/firewalls.ts'
export type { DirectoryBody as Directory, LogRecordBody as LogRecord, StatsBody as Stats } from '../../dialects/native/schema/guest.ts'
export type { DeviceBody as Device, HostBody as Host, ResourcesBody as Resources } from '../../dialects/native/schema/host.ts'
export type { ImageBody as Image } from '../../dialects/native/schema/images.ts'
export type { InstanceBody as Instance, InstanceDetailBody as InstanceDetail } from '../../dialects/native/schema/instances.ts'
export type {
  BidBody as Bid,
  ExtensionBody as Extension,
  OrderEventBody as OrderEvent,
  PriceSeriesBody as PriceSeries,
  QuoteBody as Quote,
  WinBody as PriceToWin,
  ReservationBody as Reservation,
  SupplyBody as Supply,
} from '../../dialects/native/schema/market.ts'
export type { SecretBody as Secret } from '../../dialects/native/schema/secrets.ts'
export type { SnapshotBody as Snapshot } from '../../dialects/native/schema/snapshots.ts'
export type { SshKeyBody as SshKey } from '../../dialects/native/schema/ssh-keys.ts'
export type { VolumeBody as Volume } from '../../dialects/native/schema/volumes.ts'

/** With the parts that the wire's own types only refer to. */
export type Usage = Omit<UsageBody, 'items'> & { readonly items: readonly (Omit<InstanceCostBody, 'periods'> & { readonly periods: readonly PricePeriodBody[] })[] }

export interface Page<T> {
  readonly items: readonly T[]
  readonly next: string | null
}

export interface Whoami {
  readonly projectId: string
  readonly projectName: string | null
  readonly keyId: string | null
  readonly scopes: readonly ('read' | 'write' | 'exec' | 'admin')[]
}
