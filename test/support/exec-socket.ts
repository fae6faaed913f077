/** An exec session over the Hypeman WebSocket, spoken as its CLI speaks it. */
import { once } from 'node:events'
import { WebSocket } from 'ws'

export interface ExecOutcome {
  /** All binary frames. */
  readonly output: string
  readonly bytes: Buffer
  /** Of the text frame; null if none came. */
  readonly exitCode: number | null
  /** Text frames that are no exit code. */
  readonly texts: readonly string[]
}

export interface Exec {
  readonly socket: WebSocket
  /** Resolves when the output so far holds this. */
  until(text: string): Promise<void>
  /** Resolves when the socket is closed. */
  readonly outcome: Promise<ExecOutcome>
}

/** Opens the session and sends the first message; rejects with the HTTP answer if the server refuses the upgrade. */
export async function openExec(url: string, key: string, instance: string, first: unknown): Promise<Exec> {
  const socket = await openSocket(url, key, `/instances/${instance}/exec`)
  const chunks: Buffer[] = []
  const texts: string[] = []
  const listeners = new Set<() => void>()
  let exitCode: number | null = null
  socket.on('message', (data: Buffer, isBinary: boolean) => {
    if (isBinary) chunks.push(data)
    else {
      const parsed = JSON.parse(data.toString()) as { readonly exitCode?: number }
      if (parsed.exitCode === undefined) texts.push(data.toString())
      else exitCode = parsed.exitCode
    }
    for (const listener of listeners) listener()
  })
  const outcome = once(socket, 'close').then(() => {
    const bytes = Buffer.concat(chunks)
    return { output: bytes.toString(), bytes, exitCode, texts }
  })
  socket.send(typeof first === 'string' || first instanceof Uint8Array ? first : JSON.stringify(first))
  return {
    socket,
    outcome,
    until: text =>
      new Promise((resolve, reject) => {
        const look = () => {
          if (!Buffer.concat(chunks).includes(text)) return
          listeners.delete(look)
          resolve()
        }
        listeners.add(look)
        socket.once('close', () => reject(new Error(`the session ended before ${JSON.stringify(text)}: ${Buffer.concat(chunks).toString()}`)))
        look()
      }),
  }
}

/** A whole command. */
export async function exec(url: string, key: string, instance: string, first: unknown): Promise<ExecOutcome> {
  return (await openExec(url, key, instance, first)).outcome
}

export class UpgradeRefused extends Error {
  readonly status: number
  readonly body: string

  constructor(status: number, body: string) {
    super(`${status}: ${body}`)
    this.status = status
    this.body = body
  }
}

export function openSocket(url: string, key: string | null, path: string): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(new URL(path, url.replace(/^http/, 'ws')), {
      headers: key === null ? {} : { authorization: `Bearer ${key}` },
    })
    socket.once('open', () => resolve(socket))
    socket.once('error', reject)
    socket.once('unexpected-response', (_request, response) => {
      const parts: Buffer[] = []
      response.on('data', (part: Buffer) => parts.push(part))
      response.on('end', () => reject(new UpgradeRefused(response.statusCode ?? 0, Buffer.concat(parts).toString())))
    })
  })
}
