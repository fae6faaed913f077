/** What a host may promise: what it has, times the over-commit; and what of that it has promised. */
import type { InstanceId } from '../instance/model.ts'
import type { Overcommit } from './config.ts'
import type { HostFacts } from './host-port.ts'
import type { StoreReader } from './store-port.ts'

/** Of a host: what may be promised, and what is. */
export interface Budget {
  readonly vcpus: { readonly limit: number; readonly used: number }
  readonly memoryBytes: { readonly limit: number; readonly used: number }
  readonly diskBytes: { readonly limit: number; readonly used: number }
}

/** What a host may promise, and what it has promised to all but one instance. */
export async function budgetOf(
  reader: Pick<StoreReader, 'usage'>,
  facts: HostFacts,
  overcommit: Overcommit,
  except: InstanceId | null,
): Promise<Budget> {
  const used = await reader.usage(facts.hostId, except)
  return {
    vcpus: { limit: facts.cpus * overcommit.cpu, used: used.vcpus },
    memoryBytes: { limit: facts.memoryBytes * overcommit.memory, used: used.memoryBytes },
    diskBytes: { limit: facts.diskBytes * overcommit.disk, used: used.diskBytes + used.volumeBytes + used.snapshotBytes },
  }
}
