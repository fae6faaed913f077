/**
 * Instances as the bytes of their JSON. What they are follows from the record alone, and the store gives the same record
 * as long as nothing has changed: so the bytes are worked out once for each record, and go with it.
 */
import type { Catalogue } from '../../instance/catalogue.ts'
import type { Instance } from '../../instance/model.ts'
import { presentInstance, presentListItem } from './present.ts'

export class InstanceBytes {
  readonly #catalogue: Catalogue
  readonly #whole = new WeakMap<Instance, string>()
  readonly #items = new WeakMap<Instance, string>()

  constructor(catalogue: Catalogue) {
    this.#catalogue = catalogue
  }

  /** As it is told alone. */
  whole(instance: Instance): string {
    return kept(this.#whole, instance, () => JSON.stringify(presentInstance(instance, this.#catalogue)))
  }

  /** As it is told in a list. */
  item(instance: Instance): string {
    return kept(this.#items, instance, () => JSON.stringify(presentListItem(instance, this.#catalogue)))
  }
}

function kept(known: WeakMap<Instance, string>, instance: Instance, make: () => string): string {
  const before = known.get(instance)
  if (before !== undefined) return before
  const made = make()
  known.set(instance, made)
  return made
}
