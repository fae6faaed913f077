/** What is measured is what `./berth serve` runs: the packed program, made anew from the sources as they are. */
import { join } from 'node:path'
import { packProgram, PROGRAM_DIR } from '../scripts/pack-program.ts'

let packed: Promise<void> | null = null

export async function packedServer(): Promise<string> {
  packed ??= packProgram()
  await packed
  return join(PROGRAM_DIR, 'server.mjs')
}
