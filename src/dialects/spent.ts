/**
 * Memory of bytes that went through, given back at once: V8's collector lets tens of megabytes of buffers gather
 * before it looks for them.
 */

/** Smaller ones cost more to give back than to leave. */
const WORTH_BYTES = 16 * 1024
/** What may lie before the bytes in a buffer that is theirs alone: a frame's head and a channel's number. */
const HEAD_MAX_BYTES = 16

/**
 * Frees the buffer that the bytes lie in, where they are all that is in it. Nobody may look at them again, nor the system:
 * a socket that was given them has said that it wrote them.
 */
export function discard(bytes: Uint8Array): void {
  const { buffer, byteLength } = bytes
  if (byteLength < WORTH_BYTES || buffer.byteLength - byteLength > HEAD_MAX_BYTES || !(buffer instanceof ArrayBuffer)) return
  buffer.transfer(0)
}
