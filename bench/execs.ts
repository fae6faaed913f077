/** Commands in a running VM: how long the smallest takes, and how fast bytes go through. */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { openExec, openSocket } from '../test/support/exec-socket.ts'
import type { TestServer } from '../test/support/server.ts'
import { create, remove, untilImageTemplate } from './berth.ts'
import { figureOf, type Figure } from './figure.ts'

const BLOCK_BYTES = 32 * 1024 * 1024
const READ_BYTES = 64 * 1024
const PIECE_BYTES = 256 * 1024
/** A VM's first commands fill its caches. */
const WARM_UP = 3
const ROUNDS = 3
const WATCH_EVERY_MS = 50
/** The guest keeps a block here, in memory. */
const KEPT = '/dev/shm/block'

/**
 * `blocks` of 32 MiB go through each way. Hashes are taken on this side and outside of the time, from the pieces as they
 * came: under emulation the guest's own would measure its CPU, and one text of them all would measure this process. What goes in is checked by reading a block back, and by the count of the rest.
 */
export async function execFigures(server: TestServer, samples: number, blocks: number): Promise<Readonly<Record<string, Figure>>> {
  const name = 'execs'
  await create(server, { name })
  try {
    await untilImageTemplate(server)
    const trues: number[] = []
    for (let round = 0; round < samples + WARM_UP; round += 1) {
      const ms = await untilExit(server, name, ['true'])
      if (round >= WARM_UP) trues.push(ms)
    }
    const block = randomBytes(BLOCK_BYTES)
    await send(server, name, KEPT, [block])
    const memory = watchMemory(server.pid)
    const out: number[] = []
    const into: number[] = []
    for (let round = 0; round < ROUNDS; round += 1) {
      out.push(await readBlocks(server, name, block, blocks))
      into.push(await writeBlocks(server, name, block, blocks))
    }
    const grownMb = await memory.stop()
    return {
      exec_true: figureOf('ms', trues),
      exec_out: figureOf('MB/s', out),
      exec_in: figureOf('MB/s', into),
      exec_memory: figureOf('MB', [grownMb]),
    }
  } finally {
    await remove(server, name)
  }
}

/** From the connection to the frame that says how the command ended. */
async function untilExit(server: TestServer, name: string, command: readonly string[]): Promise<number> {
  const begun = performance.now()
  const socket = await openSocket(server.url, server.key, `/instances/${name}/exec`)
  socket.send(JSON.stringify({ command }))
  const [data] = (await once(socket, 'message')) as [Buffer]
  const ms = performance.now() - begun
  if (data.toString() !== '{"exitCode":0}') throw new Error(`${command.join(' ')}: ${data.toString()}`)
  await once(socket, 'close')
  return ms
}

async function readBlocks(server: TestServer, name: string, block: Buffer, blocks: number): Promise<number> {
  const command = ['sh', '-c', `for i in $(seq ${blocks}); do dd if=${KEPT} bs=64k 2>/dev/null; done`]
  const begun = performance.now()
  const socket = await openSocket(server.url, server.key, `/instances/${name}/exec`)
  const pieces: Buffer[] = []
  socket.on('message', (data: Buffer, isBinary: boolean) => {
    if (isBinary) pieces.push(data)
  })
  socket.send(JSON.stringify({ command }))
  await once(socket, 'close')
  const ms = performance.now() - begun
  const [came, wanted] = [createHash('sha256'), createHash('sha256')]
  for (const piece of pieces) came.update(piece)
  for (let index = 0; index < blocks; index += 1) wanted.update(block)
  if (came.digest('hex') !== wanted.digest('hex')) throw new Error(`${pieces.reduce((sum, { length }) => sum + length, 0)} bytes came, not those that were sent`)
  return rate(blocks, ms)
}

async function writeBlocks(server: TestServer, name: string, block: Buffer, blocks: number): Promise<number> {
  const begun = performance.now()
  const output = await send(server, name, '/dev/null', Array<Buffer>(blocks).fill(block))
  const ms = performance.now() - begun
  if (!output.includes(`${(blocks * BLOCK_BYTES) / READ_BYTES}+0 records in`)) throw new Error(`the guest read something else: ${output}`)
  return rate(blocks, ms)
}

/** Writes the blocks to a file of the guest's; gives what its `dd` says of them. */
async function send(server: TestServer, name: string, file: string, blocks: readonly Buffer[]): Promise<string> {
  const count = blocks.reduce((sum, { length }) => sum + length, 0) / READ_BYTES
  // The wire has no end of input: the command takes as much as there is. One process, large reads: the rest is the link's.
  const command = ['dd', `bs=${READ_BYTES}`, `count=${count}`, 'iflag=fullblock', `of=${file}`]
  const { socket, outcome } = await openExec(server.url, server.key, name, { command })
  for (const block of blocks) {
    for (let at = 0; at < block.length; at += PIECE_BYTES) {
      socket.send(block.subarray(at, at + PIECE_BYTES))
      if (socket.bufferedAmount > 4 * PIECE_BYTES) await drained(socket)
    }
  }
  const { output, exitCode } = await outcome
  if (exitCode !== 0) throw new Error(`${command.join(' ')}: ${exitCode} ${output}`)
  return output
}

async function drained(socket: { readonly bufferedAmount: number; ping(data: Buffer, mask: boolean, done: () => void): void }): Promise<void> {
  // What is sent last is written last: then all before it is.
  await new Promise<void>((resolve) => socket.ping(Buffer.alloc(0), true, () => resolve()))
}

function rate(blocks: number, ms: number): number {
  return (blocks * BLOCK_BYTES) / 1e6 / (ms / 1000)
}

/** By how many megabytes a process grew beyond where it was, at its largest. */
function watchMemory(pid: number): { stop(): Promise<number> } {
  const samples: number[] = []
  const look = async (): Promise<void> => {
    const text = await readFile(`/proc/${pid}/status`, 'utf8')
    samples.push((Number(/^VmRSS:\s+(\d+)/m.exec(text)?.[1] ?? 0) * 1024) / 1e6)
  }
  const first = look()
  const timer = setInterval(() => void look().catch(() => undefined), WATCH_EVERY_MS) // the server may be gone at the end
  return {
    stop: async () => {
      await first
      clearInterval(timer)
      return Math.max(...samples) - (samples[0] ?? 0)
    },
  }
}

