/**
 * Health checks of a definition. Without any, each port that it names is asked for a TCP connection, as the original
 * does. Its limits are a grace of at most 300 s and an interval of 30 to 300 s; a shorter interval is fine here.
 */
import type { HealthCheck, HealthProbe } from '../../instance/health.ts'
import { HEALTH_CHECKS_PER_INSTANCE_LIMIT } from '../../instance/health.ts'
import type { Json } from './body.ts'
import { asInteger, asList, asObject, asText, requiredText } from './body.ts'
import { fieldError } from './errors.ts'
import { quoted } from './query.ts'

const GRACE = { least: 0, most: 300, normal: 5 }
const INTERVAL = { least: 1, most: 300, normal: 60 }
const TIMEOUT = { least: 1, most: 300, normal: 5 }
const RESTARTS = { least: 1, most: 1000, normal: 3 }
const PORT_MAX = 65_535
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE']
/** Of a path, a name or a value of a header. */
const TEXT_LIMIT_CHARACTERS = 2048
const HEADERS_LIMIT = 32
const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/
const PATH = /^\/[\x21-\x7e]*$/

type Bounds = typeof GRACE

export function acceptHealthChecks(definition: Json): readonly HealthCheck[] {
  const field = 'definition.health_checks'
  const given = asList(field, definition['health_checks'])
  if (given.length > HEALTH_CHECKS_PER_INSTANCE_LIMIT) throw fieldError(field, `at most ${HEALTH_CHECKS_PER_INSTANCE_LIMIT}`)
  if (given.length > 0) return given.map((item, index) => acceptCheck(`${field}[${index}]`, asObject(`${field}[${index}]`, item)))
  const ports = asList('definition.ports', definition['ports']).map((item, index) => asInteger(`definition.ports[${index}].port`, asObject('definition.ports', item)['port']))
  const unique = [...new Set(ports.filter(port => port !== null))].slice(0, HEALTH_CHECKS_PER_INSTANCE_LIMIT)
  return unique.map(port => acceptCheck(field, {}, { kind: 'tcp', port }))
}

function acceptCheck(field: string, check: Json, probe = acceptProbe(field, check)): HealthCheck {
  const seconds = (name: string, bounds: Bounds) => bounded(`${field}.${name}`, check[name], bounds) * 1000
  return {
    probe,
    graceMs: seconds('grace_period', GRACE),
    intervalMs: seconds('interval', INTERVAL),
    timeoutMs: seconds('timeout', TIMEOUT),
    unhealthyAfter: 1,
    healthyAfter: 1,
    restartAfter: bounded(`${field}.restart_limit`, check['restart_limit'], RESTARTS),
  }
}

function acceptProbe(field: string, check: Json): HealthProbe {
  if (check['tcp'] !== undefined && check['http'] !== undefined) throw fieldError(field, 'give either tcp or http')
  if (check['tcp'] !== undefined) return { kind: 'tcp', port: acceptPort(`${field}.tcp.port`, asObject(`${field}.tcp`, check['tcp'])['port']) }
  if (check['http'] === undefined) throw fieldError(field, 'give tcp or http')
  const http = asObject(`${field}.http`, check['http'])
  const path = asText(`${field}.http.path`, http['path']) || '/'
  if (!PATH.test(path) || path.length > TEXT_LIMIT_CHARACTERS) throw fieldError(`${field}.http.path`, `${quoted(path)} is not a path like /health`)
  const method = (asText(`${field}.http.method`, http['method']) || 'GET').toUpperCase()
  if (!METHODS.includes(method)) throw fieldError(`${field}.http.method`, `${quoted(method)} is not a method that can be checked with`)
  return { kind: 'http', port: acceptPort(`${field}.http.port`, http['port']), path, scheme: 'http', method, headers: acceptHeaders(`${field}.http.headers`, http['headers']), expectedStatus: null }
}

function acceptHeaders(field: string, value: unknown): Readonly<Record<string, string>> {
  const given = asList(field, value)
  if (given.length > HEADERS_LIMIT) throw fieldError(field, `at most ${HEADERS_LIMIT}`)
  const pairs = given.map((item, index) => {
    const at = `${field}[${index}]`
    const header = asObject(at, item)
    const key = requiredText(`${at}.key`, header['key'])
    const text = asText(`${at}.value`, header['value'])
    if (!HEADER_NAME.test(key) || key.length > TEXT_LIMIT_CHARACTERS) throw fieldError(`${at}.key`, `${quoted(key)} is not the name of a header`)
    if (!HEADER_VALUE.test(text) || text.length > TEXT_LIMIT_CHARACTERS) throw fieldError(`${at}.value`, 'it is not the value of a header')
    return [key, text] as const
  })
  return Object.fromEntries(pairs)
}

function acceptPort(field: string, value: unknown): number {
  const port = asInteger(field, value)
  if (port === null || port < 1 || port > PORT_MAX) throw fieldError(field, `it must be a port from 1 to ${PORT_MAX}`)
  return port
}

/** 0 is an unset number on this wire. */
function bounded(field: string, value: unknown, { least, most, normal }: Bounds): number {
  const number = asInteger(field, value) || normal
  if (number < least || number > most) throw fieldError(field, `from ${least} to ${most}`)
  return number
}
