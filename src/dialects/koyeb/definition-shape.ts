/**
 * The shape of a definition: what is shown again in every answer about a deployment must be what its clients decode.
 * Their enums are closed and their numbers are numbers, so one definition that was kept as it came would break every
 * list for them. Numbers as text become numbers, `""` of an enum is unset, unknown keys are left out (as a proto does),
 * and anything else that is not of its type is refused by its field.
 */
import type { Json } from './body.ts'
import { asFlag, asInteger, asList, asObject, requiredText } from './body.ts'
import { fieldError } from './errors.ts'
import { quoted } from './query.ts'

type Shape =
  | 'text'
  | 'integer'
  | 'flag'
  | { readonly words: readonly string[] }
  | { readonly items: Shape }
  | { readonly keys: Readonly<Record<string, Shape>> }

const list = (items: Shape): Shape => ({ items })
const object = (keys: Readonly<Record<string, Shape>>): Shape => ({ keys })
const TEXTS = list('text')
const PORT = object({ port: 'integer' })
const VALUE = object({ value: 'integer' })

const DEFINITION: Readonly<Record<string, Shape>> = {
  name: 'text',
  type: 'text',
  docker: object({ image: 'text', command: 'text', args: TEXTS, entrypoint: TEXTS, image_registry_secret: 'text', privileged: 'flag' }),
  env: list(object({ key: 'text', value: 'text', secret: 'text', scopes: TEXTS })),
  regions: TEXTS,
  ports: list(object({ port: 'integer', protocol: 'text' })),
  proxy_ports: list(object({ port: 'integer', protocol: { words: ['tcp'] } })),
  routes: list(
    object({
      path: 'text',
      port: 'integer',
      security_policies: object({ api_keys: TEXTS, basic_auths: list(object({ username: 'text', password: 'text' })) }),
    }),
  ),
  instance_types: list(object({ type: 'text', scopes: TEXTS })),
  scalings: list(
    object({
      scopes: TEXTS,
      min: 'integer',
      max: 'integer',
      targets: list(
        object({
          average_cpu: VALUE,
          average_mem: VALUE,
          concurrent_requests: VALUE,
          requests_per_second: VALUE,
          requests_response_time: object({ value: 'integer', quantile: 'integer' }),
          sleep_idle_delay: object({ value: 'integer', light_sleep_value: 'integer', deep_sleep_value: 'integer' }),
        }),
      ),
    }),
  ),
  health_checks: list(
    object({
      grace_period: 'integer',
      interval: 'integer',
      timeout: 'integer',
      restart_limit: 'integer',
      tcp: PORT,
      http: object({ port: 'integer', path: 'text', method: 'text', headers: list(object({ key: 'text', value: 'text' })) }),
    }),
  ),
  strategy: object({
    type: {
      words: ['INVALID', 'DEFAULT', 'CANARY', 'ROLLING', 'BLUE_GREEN', 'IMMEDIATE'].map(word => `DEPLOYMENT_STRATEGY_TYPE_${word}`),
    },
  }),
  mesh: { words: ['DEPLOYMENT_MESH_AUTO', 'DEPLOYMENT_MESH_ENABLED', 'DEPLOYMENT_MESH_DISABLED'] },
  network_policy: object({
    egress: object({ mode: { words: ['EGRESS_POLICY_MODE_DEFAULT', 'EGRESS_POLICY_MODE_DENY_ALL'] }, allow_list: list(object({ cidr: 'text' })) }),
  }),
  skip_cache: 'flag',
  // Refused where they say anything; empty ones come back from clients that change what they were shown.
  volumes: list(object({ id: 'text', path: 'text', replica_index: 'integer', scopes: TEXTS })),
  config_files: list(object({ path: 'text', permissions: 'text', content: 'text' })),
}

/** What was given, in the types that its clients decode. */
export function shapedDefinition(definition: Json): Json {
  return shaped('definition', definition, object(DEFINITION)) as Json
}

function shaped(field: string, value: unknown, shape: Shape): unknown {
  if (shape === 'text') return requiredText(field, value)
  if (shape === 'integer') return asInteger(field, value)
  if (shape === 'flag') return asFlag(field, value)
  if ('words' in shape) return wordOf(field, requiredText(field, value), shape.words)
  if ('items' in shape) return asList(field, value).map((item, index) => shaped(`${field}[${index}]`, item, shape.items))
  const given = asObject(field, value)
  const entries = Object.entries(shape.keys).map(([key, inner]) => [key, given[key] === undefined ? undefined : shaped(`${field}.${key}`, given[key], inner)] as const)
  return Object.fromEntries(entries.filter(([, item]) => item !== undefined))
}

function wordOf(field: string, word: string, words: readonly string[]): string | undefined {
  if (word === '') return undefined
  if (!words.includes(word)) throw fieldError(field, `${quoted(word)} is none of ${words.join(', ')}`)
  return word
}
