/** Waiting on behalf of a client: in short turns, so that each can tell how it goes. */
import type { WaitResult } from '../engine/api.ts'
import { BerthError } from '../instance/errors.ts'
import type { Image, Instance } from '../instance/model.ts'
import type { Phase } from '../instance/phase.ts'
import { requirePatience } from './tool.ts'
import type { ToolContext } from './tool.ts'

/** How often a waiting client hears something. */
const TURN_MS = 500

/**
 * Until the instance that `recorded` asked for is in one of the phases, or has failed, or the time is over.
 * @throws BerthError with the failure's code, or `cancelled`.
 */
export async function waitFor(context: ToolContext, recorded: Instance, until: readonly Phase[], timeoutMs: number): Promise<WaitResult> {
  const result = await turns(context, timeoutMs, `${recorded.spec.name} is ${recorded.phase}`, async turnMs => {
    const answer = await context.engine.instances.wait(context.caller, recorded.id, {
      until,
      timeoutMs: turnMs,
      signal: context.signal,
      since: recorded,
    })
    return { answer, isOver: !answer.timedOut, message: `${answer.instance.spec.name} is ${answer.instance.phase}` }
  })
  if (result.failure !== null) {
    const { code, message } = result.failure
    throw new BerthError(code, message, { details: { instanceId: recorded.id, phase: result.instance.phase } })
  }
  return result
}

/** Until the image is ready. Throws `image_failed`, `timeout` or `cancelled`. */
export async function waitForImage(context: ToolContext, name: string, timeoutMs: number): Promise<Image> {
  const image = await turns(context, timeoutMs, `image ${name} is looked for`, async turnMs => {
    const answer = await context.engine.images.wait(context.caller, name, { timeoutMs: turnMs, signal: context.signal })
    const share = answer.progress === null ? '' : ` (${Math.floor(answer.progress * 100)} %)`
    return { answer, isOver: answer.status === 'ready' || answer.status === 'failed', message: `image ${answer.name} is ${answer.status}${share}` }
  })
  if (image.status === 'failed') throw new BerthError('image_failed', `The image ${image.name} could not be pulled: ${image.error ?? 'nobody said why'} What is here already list-images tells.`)
  if (image.status !== 'ready') throw new BerthError('timeout', `The image ${image.name} is still ${image.status}: call again in a moment, it goes on meanwhile.`)
  return image
}

async function turns<T>(
  context: ToolContext,
  timeoutMs: number,
  begun: string,
  turn: (turnMs: number) => Promise<{ readonly answer: T; readonly isOver: boolean; readonly message: string }>,
): Promise<T> {
  const startedAt = performance.now()
  // At once: what is wanted may be there before the first turn is over.
  context.progress(1, begun)
  for (;;) {
    requirePatience(context.signal)
    const leftMs = timeoutMs - (performance.now() - startedAt)
    const { answer, isOver, message } = await turn(Math.max(0, Math.min(TURN_MS, leftMs)))
    requirePatience(context.signal)
    if (isOver || leftMs <= TURN_MS) return answer
    context.progress(Math.round(performance.now() - startedAt), message)
  }
}
