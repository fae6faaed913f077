/** The server's log: one JSON line an event on stderr, with everything secret cut out before it is written. */
import { pino } from 'pino'
import type { Logger } from 'pino'
import type { LogLevel } from './config.ts'

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

export function makeLog(level: LogLevel): Logger {
  return pino({ level, base: null, redact: { paths: SECRET_PATHS, censor: '[secret]' } }, pino.destination({ dest: 2, sync: true }))
}
