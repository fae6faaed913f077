/**
 * A tool that is wanted again and again, of which one process has started and waits for its input: to start one takes a
 * large server 5-20 ms, in which it does nothing else, and the tool about as long until it reads.
 *
 * Invariants: a process gets one input and ends; one that ended while it waited is never given any. None is started in
 * the moment after a run, when whoever asked has more to do. What waits ends with the server, since its input does.
 */
import { startTool, type StartedTool } from './command.ts'

const REST_MS = 300

let holds = 0

/** Until the given function is called, none is started to wait: somebody is in a hurry. */
export function holdTools(): () => void {
  holds += 1
  let over = false
  return () => {
    if (!over) holds -= 1
    over = true
  }
}

export class ReadyTool {
  readonly #tool: string
  readonly #args: readonly string[]
  readonly #restMs: number
  #waiting: StartedTool | null = null
  #timer: NodeJS.Timeout | null = null

  constructor(tool: string, args: readonly string[], restMs = REST_MS) {
    this.#tool = tool
    this.#args = args
    this.#restMs = restMs
  }

  /** Whether one waits. */
  get isReady(): boolean {
    return this.#waiting !== null
  }

  /** Runs it with this input to its end; with `runCommand`'s answers. */
  async run(input: string): Promise<string> {
    const started = this.#waiting ?? startTool(this.#tool, this.#args)
    this.#waiting = null
    this.#rest()
    return await started.finish(input)
  }

  /** Starts the one that waits, if none does. */
  prepare(): void {
    if (this.#waiting !== null) return
    const started = this.#start()
    if (started === null) return
    started.unref()
    this.#waiting = started
    void started.ended.then(() => {
      // The next run starts one of its own, and says what is wrong if that can't be.
      if (this.#waiting === started) this.#waiting = null
    })
  }

  /** null where the machine has no room for a process: the next run tries again, and says so. */
  #start(): StartedTool | null {
    try {
      return startTool(this.#tool, this.#args)
    } catch {
      return null
    }
  }

  #rest(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = setTimeout(() => (holds > 0 ? this.#rest() : this.prepare()), this.#restMs)
    this.#timer.unref()
  }
}
