/**
 * Blocks of memory that output of guests waits in, given back once their reader has done with them: a new block for each
 * 64 KiB would wait for V8's collector, which lets tens of megabytes of them gather before it looks.
 *
 * Invariant: whoever gives a block back has no use for its bytes any more, nor has anyone whom it gave them to.
 */
export const BLOCK_BYTES = 65_536
/** So many are kept for the next who wants one: the windows of two commands. */
const KEPT_BLOCKS = 32

const kept: Buffer[] = []

/** A block whose bytes are anything. */
export function takeBlock(): Buffer {
  return kept.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES)
}

/** What is no whole block is let go; one more than are kept is freed at once. */
export function giveBlockBack({ buffer, length }: Buffer): void {
  if (length !== BLOCK_BYTES || !(buffer instanceof ArrayBuffer)) return
  if (kept.length < KEPT_BLOCKS) kept.push(Buffer.from(buffer))
  else buffer.transfer(0)
}
