/**
 * exec over a WebSocket.
 *
 *   client                                       server
 *     │ text    {"command":["ls"],"tty":false,…}    │  first, always
 *     ├────────────────────────────────────────────▶│
 *     │ binary or text: stdin                       │
 *     │ text {"resize":{"rows":R,"cols":C}} (tty)   │
 *     ├────────────────────────────────────────────▶│
 *     │             binary: stdout and stderr, merged
 *     │◀────────────────────────────────────────────┤
 *     │             text {"exitCode":0}, then close │  last, on every path
 *     │◀────────────────────────────────────────────┤
 *
 * Invariants: output is only ever binary and the exit code only ever text (the CLI prints one and parses the
 * other, and hangs without it); what can be refused is refused before the upgrade, as plain HTTP; a client that
 * goes away kills its command.
 */
import type { FastifyRequest } from 'fastify'
import type { WebSocket } from 'ws'
import type { Caller } from '../../engine/api.ts'
import type { ExecExit, ExecRequest, ExecSession } from '../../engine/host-port.ts'
import { asBerthError, toldSentence } from '../../instance/errors.ts'
import type { BerthError } from '../../instance/errors.ts'
import type { InstanceId } from '../../instance/model.ts'
import type { Message } from '../message-socket.ts'
import { discard } from '../spent.ts'
import { parseJson, readerOf } from './body.ts'
import { ClientSocket } from './client-socket.ts'
import * as wire from './schema.ts'
import type { Surface } from './surface.ts'
import { callerOf } from './surface.ts'

export const FIRST_MESSAGE_WAIT_MS = 30_000
const AGENT_RETRY_MS = 500
const DEFAULT_COMMAND = ['/bin/sh']
const DEFAULT_ROWS = 24
const DEFAULT_COLS = 80
/** What a program with a terminal expects to find; the request's own values win. */
const TTY_ENV = { TERM: 'xterm-256color', LANG: 'C.UTF-8', LC_ALL: 'C.UTF-8', COLORTERM: 'truecolor' }
/** Any exec error that is not an exit of the command. */
const EXIT_CODE_ERROR = 127
/** As timeout(1) has it. */
const EXIT_CODE_TIMED_OUT = 124

const readExecStart = readerOf(wire.ExecStart)
const readResize = readerOf(wire.ExecResize)

export async function serveExec(surface: Surface, socket: WebSocket, request: FastifyRequest, instanceId: InstanceId): Promise<void> {
  const messages = new ClientSocket(socket, surface.options.stopping)
  try {
    await execute(surface, messages, callerOf(request), instanceId)
  } catch (error) {
    // Only a client that left stops an answer from being sent; then nobody is there to be told.
    if (!messages.gone.aborted) request.log.warn({ err: error, instance: instanceId }, 'an exec session broke off')
  } finally {
    messages.close()
  }
}

async function execute(surface: Surface, messages: ClientSocket, caller: Caller, instanceId: InstanceId): Promise<void> {
  const first = await messages.first(FIRST_MESSAGE_WAIT_MS)
  if (first === null) return
  if (!first.isText) return messages.sendText({ error: 'first message must be JSON text' })
  let start: wire.ExecStart
  try {
    start = readExecStart(parseJson(first.data), 'first message')
  } catch (error) {
    return messages.sendText({ error: `invalid JSON: ${asBerthError(error).message}` })
  }

  let session: ExecSession
  try {
    session = await openSession(surface, messages.gone, caller, instanceId, start)
  } catch (error) {
    return fail(messages, asBerthError(error))
  }
  // Where the output breaks off first, nobody awaits the exit; its rejection is the same news.
  session.exit.catch(() => undefined)
  const abandon = () => session.close()
  messages.gone.addEventListener('abort', abandon, { once: true })
  try {
    if (messages.gone.aborted) return
    // Ends with the session or the socket; it has no failure that its exit code doesn't tell.
    void pumpInput(messages, session, start.tty ?? false)
    for await (const { data } of session.output) await messages.sendBinary(data)
    const exit = await session.exit
    await messages.sendText({ exitCode: exitCode(exit) })
  } catch (error) {
    if (!messages.gone.aborted) await fail(messages, asBerthError(error))
  } finally {
    messages.gone.removeEventListener('abort', abandon)
    session.close()
  }
}

/** Opens the session; a guest whose agent isn't there yet is asked again as long as the client allows. */
async function openSession(
  surface: Surface,
  gone: AbortSignal,
  caller: Caller,
  instanceId: InstanceId,
  start: wire.ExecStart,
): Promise<ExecSession> {
  const deadlineMs = surface.options.now() + (start.wait_for_agent ?? 0) * 1000
  for (;;) {
    try {
      return await surface.engine.instances.exec(caller, instanceId, execRequest(start))
    } catch (error) {
      const known = asBerthError(error)
      const mayRetry = known.code === 'guest_unreachable' && surface.options.now() < deadlineMs && !gone.aborted
      if (!mayRetry) throw known
      await new Promise(resolve => setTimeout(resolve, AGENT_RETRY_MS))
    }
  }
}

function execRequest(start: wire.ExecStart): ExecRequest {
  const tty = start.tty ?? false
  const command = start.command ?? []
  const timeoutSeconds = start.timeout ?? 0
  return {
    command: command.length === 0 ? DEFAULT_COMMAND : command,
    env: tty ? { ...TTY_ENV, ...start.env } : (start.env ?? {}),
    workingDir: start.cwd === undefined || start.cwd === '' ? null : start.cwd,
    user: null,
    tty: tty ? { rows: start.rows || DEFAULT_ROWS, cols: start.cols || DEFAULT_COLS } : null,
    timeoutMs: timeoutSeconds === 0 ? null : timeoutSeconds * 1000,
  }
}

/** stdin until the client leaves. The wire has no end of stdin; closing the socket is what ends a `cat`. */
async function pumpInput(messages: ClientSocket, session: ExecSession, tty: boolean): Promise<void> {
  try {
    for (let message = await messages.next(); message !== null; message = await messages.next()) {
      const size = tty ? resizeOf(message) : null
      if (size === null) {
        await session.write(message.data)
        discard(message.data)
      } else {
        session.resize(size.rows, size.cols)
      }
    }
  } catch {
    // A command that no longer reads, or a link that broke: the session's own end tells what happened.
  }
}

function resizeOf(message: Message): { readonly rows: number; readonly cols: number } | null {
  if (!message.isText || !message.data.includes('"resize"')) return null
  try {
    return readResize(parseJson(message.data), 'resize').resize
  } catch {
    // Not a resize, so it is something that was typed.
    return null
  }
}

function exitCode(exit: ExecExit): number {
  return exit.timedOut ? EXIT_CODE_TIMED_OUT : exit.code
}

async function fail(messages: ClientSocket, error: BerthError): Promise<void> {
  const message = error.code === 'command_not_found' ? notFoundMessage(error.message) : toldSentence(error)
  await messages.sendBinary(Buffer.from(`Error: ${message}\r\n`))
  await messages.sendText({ exitCode: EXIT_CODE_ERROR })
}

/** Clients look for these words. */
function notFoundMessage(message: string): string {
  const words = 'executable file not found'
  return message.includes(words) ? message : `${words}: ${message}`
}
