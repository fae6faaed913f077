/** Waiting for what a request asked for: apart from the request itself, so that a client that goes away interrupts nothing. */
import type { Caller, Engine } from '../../engine/api.ts'
import { BerthError } from '../../instance/errors.ts'
import type { Instance } from '../../instance/model.ts'
import type { Phase } from '../../instance/phase.ts'
import { DEFAULT_WAIT_MS } from './schema/page.ts'

/**
 * The instance once what was asked for is done; as it is then, if the time is up or the client has gone.
 * Throws what the work failed with. `since` is the record that the request returned.
 */
export async function settle(
  engine: Engine,
  caller: Caller,
  since: Instance,
  options: { readonly until: readonly Phase[]; readonly timeoutMs: number | undefined; readonly signal: AbortSignal },
): Promise<Instance> {
  const { id } = since
  const { until, timeoutMs = DEFAULT_WAIT_MS, signal } = options
  const { instance, failure } = await engine.instances.wait(caller, id, { until, timeoutMs, signal, since })
  if (failure !== null) throw new BerthError(failure.code, failure.message, { details: { instanceId: id, phase: instance.phase } })
  return instance
}
