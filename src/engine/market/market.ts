/**
 * The market: bids and reservations that own instances, the auction that gives them capacity, and what it all costs.
 *
 *   wishes (bids, reservations) ─▶ controller ─▶ settle: one transaction ─▶ instances, prices
 *   reads  (supply, accounts)   ─▶ the books and the price periods
 */
import type { InstanceId } from '../../instance/model.ts'
import type { Instances } from '../api.ts'
import type { Core } from '../core.ts'
import type { LaunchInstance } from '../instances.ts'
import { makeAccounts } from './accounts.ts'
import type { Market } from './api.ts'
import { makeBids } from './bids.ts'
import { MarketController } from './controller.ts'
import { Ground } from './ground.ts'
import type { PricingParts } from './pricing.ts'
import { makeReservations } from './reservations.ts'
import { makeSupply } from './supply.ts'

export interface MarketParts {
  readonly core: Core
  readonly pricing: PricingParts
  readonly launch: LaunchInstance
  readonly attachments: Pick<Instances, 'attachVolume' | 'detachVolume'>
  readonly wakeInstance: (id: InstanceId) => void
}

export interface OpenMarket {
  readonly api: Market
  readonly controller: MarketController
}

export function makeMarket({ core, pricing, launch, attachments, wakeInstance }: MarketParts): OpenMarket {
  const ground = new Ground(core)
  const controller = new MarketController({ core, ground, pricing, launch, wakeInstance })
  const parts = { core, controller, attachments, ground, pricing }
  return { controller, api: { ...makeSupply(core, ground), ...makeBids(parts), ...makeReservations(parts), ...makeAccounts(core) } }
}
