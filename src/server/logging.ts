/**
 * The server's log on stderr, with everything secret cut out before it is written: one JSON line an event, or the
 * same as text where stderr is a terminal.
 */
import { isatty } from 'node:tty'
import { pino } from 'pino'
import type { DestinationStream, Logger } from 'pino'
import type { LogLevel } from './config.ts'
import { logText } from './log-text.ts'

/** Where secrets would stand in what is logged. */
const SECRET_PATHS = [
  'authorization',
  'headers.authorization',
  'req.headers.authorization',
  'credentials',
  '*.credentials',
  'password',
  '*.password',
  'token',
  '*.token',
  'secret',
  '*.secret',
  'env',
  '*.env',
]

const STDERR = 2

export function makeLog(level: LogLevel): Logger {
  return pino({ level, base: null, redact: { paths: SECRET_PATHS, censor: '[secret]' } }, destination())
}

function destination(): DestinationStream {
  const stderr = pino.destination({ dest: STDERR, sync: true })
  return isatty(STDERR) ? { write: line => void stderr.write(logText(line)) } : stderr
}
