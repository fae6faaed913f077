/** The schemas of the wire by name, for the OpenAPI document. */
import { KeyBody, ProjectBody } from './access.ts'
import { AuditBody } from './audit.ts'
import { CapacityBody } from './capacity.ts'
import { CatalogueBody } from './catalogue.ts'
import { ErrorBody } from './errors.ts'
import { EventBody } from './events.ts'
import { FileSystemBody } from './file-systems.ts'
import { FirewallBody, GlobalRulesBody } from './firewalls.ts'
import { DirectoryBody, LogRecordBody, PathBody, StatsBody, StatsSampleBody } from './guest.ts'
import { DeviceBody, HostBody, ResourcesBody } from './host.ts'
import { ImageBody } from './images.ts'
import { InstanceBody, InstanceDetailBody } from './instances.ts'
import { BidBody, ExtensionBody, InstanceCostBody, OrderEventBody, PricePeriodBody, PriceSeriesBody, QuoteBody, ReservationBody, ReservationUsageBody, SupplyBody, UsageBody, WinBody } from './market.ts'
import { SnapshotBody } from './snapshots.ts'
import { SecretBody } from './secrets.ts'
import { SshKeyBody } from './ssh-keys.ts'
import { VolumeBody } from './volumes.ts'

export const COMPONENTS = [
  ErrorBody,
  InstanceBody,
  EventBody,
  InstanceDetailBody,
  StatsBody,
  StatsSampleBody,
  PathBody,
  DirectoryBody,
  LogRecordBody,
  ImageBody,
  VolumeBody,
  FileSystemBody,
  FirewallBody,
  GlobalRulesBody,
  SnapshotBody,
  KeyBody,
  ProjectBody,
  AuditBody,
  SecretBody,
  SshKeyBody,
  CapacityBody,
  SupplyBody,
  PriceSeriesBody,
  BidBody,
  ReservationBody,
  OrderEventBody,
  PricePeriodBody,
  InstanceCostBody,
  UsageBody,
  ReservationUsageBody,
  QuoteBody,
  WinBody,
  ExtensionBody,
  DeviceBody,
  HostBody,
  ResourcesBody,
  CatalogueBody,
] as const
