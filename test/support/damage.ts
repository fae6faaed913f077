/** Files that are damaged on purpose. */
import { open } from 'node:fs/promises'

/** Changes one byte near the end. */
export async function flip(path: string): Promise<void> {
  const file = await open(path, 'r+')
  try {
    const at = (await file.stat()).size - 100
    const byte = Buffer.alloc(1)
    await file.read(byte, 0, 1, at)
    byte[0] = (byte[0] ?? 0) ^ 0xff
    await file.write(byte, 0, 1, at)
  } finally {
    await file.close()
  }
}
