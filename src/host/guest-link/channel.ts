/**
 * One channel of the link: input with the guest's credit, output within the credit that we gave.
 *
 * - What waits unread is at most the window; credit goes back as it is read, so an unread channel stops the
 *   process in the guest and neither memory nor other channels feel it.
 * - Output is copied into blocks of the channel's: what it comes in is the socket's, and soon holds something else.
 */
import { BerthError } from '../../instance/errors.ts'
import { BLOCK_BYTES, giveBlockBack, takeBlock } from './blocks.ts'
import { splitAtMarkers, type Frame } from './frame.ts'
import { decodeError } from './message.ts'
import { FRAME, FRAME_COST_BYTES, PAYLOAD_MAX_BYTES } from './protocol.ts'
import type { Wire } from './wire.ts'

/** Up to this, output has a block of its own length, which grows; more gets a whole one. */
const SMALL_MAX_BYTES = 16_384

export interface ChannelOutput {
  readonly stream: 'stdout' | 'stderr'
  readonly data: Uint8Array
}

/** How a channel ended: by the agent's reply, or by the end of its process. */
export interface ChannelEnd {
  readonly type: 'reply' | 'exit'
  readonly body: Uint8Array
}

interface Block {
  readonly stream: 'stdout' | 'stderr'
  bytes: Buffer
  used: number
  cost: number
}

export class Channel {
  readonly id: number
  /** Settles when the process runs; rejects if it can't. Of a plain request: when it was answered. */
  readonly opened: Promise<void>
  readonly ended: Promise<ChannelEnd>

  readonly #wire: Wire
  readonly #windowBytes: number
  readonly #openedSettler = Promise.withResolvers<void>()
  readonly #endedSettler = Promise.withResolvers<ChannelEnd>()
  readonly #blocks: Block[] = []
  #unreadCost = 0
  #readCost = 0
  #wakeReader: (() => void) | null = null
  #inputCredit = 0
  #wakeWriter: (() => void) | null = null
  #writing: Promise<void> = Promise.resolve()
  #state: 'open' | 'ended' | 'closed' | BerthError = 'open'

  constructor(wire: Wire, id: number, windowBytes: number) {
    this.#wire = wire
    this.id = id
    this.#windowBytes = windowBytes
    this.opened = this.#openedSettler.promise
    this.ended = this.#endedSettler.promise
    // Whoever cares awaits them; nobody has to.
    this.opened.catch(() => undefined)
    this.ended.catch(() => undefined)
  }

  /** A frame from the guest. */
  accept(frame: Frame): void {
    switch (frame.type) {
      case FRAME.opened:
        this.#inputCredit += readNumber(frame.payload)
        this.#openedSettler.resolve()
        return
      case FRAME.out:
      case FRAME.err:
        return this.#takeOutput(frame)
      case FRAME.grant:
        this.#inputCredit += readNumber(frame.payload)
        this.#wakeWriter?.()
        return
      case FRAME.reply:
      case FRAME.exit:
        this.#wire.forget(this.id)
        this.#state = 'ended'
        this.#openedSettler.resolve()
        this.#endedSettler.resolve({ type: frame.type === FRAME.reply ? 'reply' : 'exit', body: Buffer.from(frame.payload) })
        this.#wake()
        return
      case FRAME.error:
        this.#wire.forget(this.id)
        this.fail(decodeError(frame.payload))
        return
      default:
    }
  }

  /** Ends everything that waits on the channel with an error. */
  fail(error: BerthError): void {
    if (this.#state !== 'open') return
    this.#state = error
    this.#openedSettler.reject(error)
    this.#endedSettler.reject(error)
    this.#wake()
  }

  /** Kills what runs behind the channel and frees it. */
  close(error = new BerthError('cancelled', 'The command or transfer was closed.')): void {
    if (this.#state === 'open') {
      this.#wire.send(FRAME.close, this.id, new Uint8Array(0))
      this.#wire.forget(this.id)
      this.fail(error)
    }
    this.#blocks.length = 0
    this.#state = 'closed'
  }

  send(type: number, payload: Uint8Array): void {
    if (this.#state === 'open') this.#wire.send(type, this.id, payload)
  }

  /**
   * Bytes for the input; resolves when the guest has room for more and their memory is the caller's again. What a
   * process that has ended didn't read is dropped.
   */
  write(data: Uint8Array): Promise<void> {
    const turn = this.#writing.then(() => this.#writeNow(data))
    this.#writing = turn.catch(() => undefined) // the writer itself hears of it
    return turn
  }

  async endInput(): Promise<void> {
    await this.#writing
    this.send(FRAME.eof, new Uint8Array(0))
  }

  /** Output in order; ends when the channel ended, throws if it broke. For one reader. */
  async *output(): AsyncGenerator<ChannelOutput, void, undefined> {
    for (let block = await this.#nextBlock(); block !== null; block = await this.#nextBlock()) {
      yield { stream: block.stream, data: block.bytes.subarray(0, block.used) }
      this.#giveCredit(block.cost)
    }
  }

  /** The same, but each piece is the reader's only until it asks for the next: then other bytes come to lie there. */
  async *lentOutput(): AsyncGenerator<ChannelOutput, void, undefined> {
    for (let block = await this.#nextBlock(); block !== null; block = await this.#nextBlock()) {
      yield { stream: block.stream, data: block.bytes.subarray(0, block.used) }
      giveBlockBack(block.bytes)
      this.#giveCredit(block.cost)
    }
  }

  async #nextBlock(): Promise<Block | null> {
    for (;;) {
      const block = this.#blocks.shift()
      if (block !== undefined) return block
      if (this.#state === 'ended' || this.#state === 'closed') return null
      if (this.#state instanceof BerthError) throw this.#state
      await new Promise<void>((resolve) => (this.#wakeReader = resolve))
      this.#wakeReader = null
    }
  }

  async #writeNow(data: Uint8Array): Promise<void> {
    for (const piece of splitAtMarkers(data)) {
      let rest = piece
      while (rest.length > 0) {
        if (this.#state === 'open') await this.opened.catch(() => undefined) // seen as the state below
        if (this.#state instanceof BerthError) throw this.#state
        if (this.#state !== 'open') return
        if (this.#inputCredit <= 0) {
          await new Promise<void>((resolve) => (this.#wakeWriter = resolve))
          this.#wakeWriter = null
          continue
        }
        const part = rest.subarray(0, Math.min(rest.length, this.#inputCredit, PAYLOAD_MAX_BYTES))
        this.#inputCredit -= part.length
        rest = rest.subarray(part.length)
        await this.#wire.deliver(FRAME.data, this.id, part)
      }
    }
  }

  #takeOutput(frame: Frame): void {
    const cost = frame.payload.length + (frame.starts ? FRAME_COST_BYTES : 0)
    this.#unreadCost += cost
    if (this.#unreadCost > this.#windowBytes) {
      return this.#wire.break(new BerthError('guest_unreachable', "The guest's agent sent more than it was allowed to."))
    }
    const stream = frame.type === FRAME.err ? 'stderr' : 'stdout'
    const last = this.#blocks.at(-1)
    if (last !== undefined && last.stream === stream && last.used + frame.payload.length <= BLOCK_BYTES) {
      append(last, frame.payload)
      last.cost += cost
    } else {
      const bytes = roomFor(frame.payload.length)
      bytes.set(frame.payload)
      this.#blocks.push({ stream, bytes, used: frame.payload.length, cost })
    }
    this.#wakeReader?.()
  }

  #giveCredit(cost: number): void {
    this.#readCost += cost
    if (this.#readCost < this.#windowBytes / 4 || this.#state !== 'open') return
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32LE(this.#readCost)
    this.#unreadCost -= this.#readCost
    this.#readCost = 0
    this.#wire.send(FRAME.credit, this.id, bytes)
  }

  #wake(): void {
    this.#wakeReader?.()
    this.#wakeWriter?.()
  }
}

/** Grows the block by doubling, so that many small pieces cost no more than twice their length. */
function append(block: Block, piece: Uint8Array): void {
  if (block.used + piece.length > block.bytes.length) {
    const grown = roomFor(2 * (block.used + piece.length))
    block.bytes.copy(grown, 0, 0, block.used)
    block.bytes = grown
  }
  block.bytes.set(piece, block.used)
  block.used += piece.length
}

function roomFor(bytes: number): Buffer {
  return bytes > SMALL_MAX_BYTES ? takeBlock() : Buffer.allocUnsafeSlow(bytes)
}

function readNumber(payload: Uint8Array): number {
  return payload.length === 4 ? Buffer.from(payload).readUInt32LE() : 0
}
