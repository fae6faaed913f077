/** Runs one command in an instance over the native exec protocol and keeps what it wrote. */
import type { Client } from './client.ts'
import { part } from './client.ts'
import { CliError } from './failure.ts'

/** Most bytes kept of each stream; a command that writes more is an error of whoever captures it. */
const CAPTURE_LIMIT_BYTES = 1024 * 1024

export interface Captured {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs argv as root without a terminal. Throws if it could not run, the link broke, or it wrote too much. */
export async function capture(client: Client, instance: string, command: readonly string[]): Promise<Captured> {
  const socket = await client.socket(`/instances/${part(instance)}/exec`)
  const streams: [Buffer[], Buffer[]] = [[], []]
  let bytes = 0
  return new Promise<Captured>((resolve, reject) => {
    const fail = (message: string) => {
      reject(new CliError(message))
      socket.terminate()
    }
    socket.on('message', (data: Buffer, isBinary: boolean) => {
      if (isBinary) {
        bytes += data.length
        if (bytes > CAPTURE_LIMIT_BYTES) return fail(`${command[0]} wrote more than ${CAPTURE_LIMIT_BYTES} bytes.`)
        streams[data[0] === 2 ? 1 : 0].push(data.subarray(1))
        return
      }
      const message = JSON.parse(data.toString('utf8')) as { type: string; code?: number; error?: { message: string } }
      if (message.type === 'error') fail(message.error?.message ?? 'The command could not run.')
      if (message.type === 'exit') {
        const [stdout, stderr] = streams.map((chunks) => Buffer.concat(chunks).toString('utf8'))
        resolve({ code: message.code ?? 255, stdout: stdout ?? '', stderr: stderr ?? '' })
        socket.close()
      }
    })
    socket.on('error', (error) => fail(`The connection to the instance broke: ${error.message}`))
    socket.on('close', () => reject(new CliError('The connection to the instance ended before the command did.')))
    socket.send(JSON.stringify({ type: 'start', command }))
    socket.send(JSON.stringify({ type: 'eof' }))
  })
}
