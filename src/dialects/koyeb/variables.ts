/**
 * Variables of a definition. Koyeb adds some of its own to what a service is given (its console lists them as system
 * variables, its documentation names PORT), and lets values refer to them, to each other, and to secrets.
 *
 *   plain ─▶ env      only secrets in it ─▶ secretEnv      names of variables in it ─▶ derivedEnv
 */
import { namesIn } from '../../engine/derived-text.ts'
import { referencesIn, referenceTo } from '../../engine/secrets.ts'
import type { InstanceType } from '../../instance/catalogue.ts'
import type { ReplicaFact, ReplicaTemplate } from '../../instance/service.ts'
import type { Json } from './body.ts'
import { asFlag, asList, asObject, asText, asTexts, requiredText } from './body.ts'
import { fieldError } from './errors.ts'
import { datacenterOf } from './present.ts'
import { quoted } from './query.ts'

const MEBIBYTE = 2 ** 20

/** What each replica is told about itself. There are no domains here, so that those two are not among them. */
const FACTS: Readonly<Record<string, ReplicaFact>> = {
  KOYEB_APP_ID: 'app-id',
  KOYEB_APP_NAME: 'app-name',
  KOYEB_ORGANIZATION_ID: 'project-id',
  KOYEB_ORGANIZATION_NAME: 'project-name',
  KOYEB_SERVICE_ID: 'service-id',
  KOYEB_SERVICE_NAME: 'service-name',
  KOYEB_REGIONAL_DEPLOYMENT_ID: 'set-id',
  KOYEB_INSTANCE_ID: 'instance-id',
  KOYEB_REPLICA_INDEX: 'replica-index',
  KOYEB_HYPERVISOR_ID: 'host-id',
}

export interface Place {
  readonly region: string
  readonly type: InstanceType
  readonly isWeb: boolean
  readonly ports: readonly { readonly port: number; readonly protocol: string }[]
}

export function acceptVariables(definition: Json, place: Place): Pick<ReplicaTemplate, 'env' | 'secretEnv' | 'derivedEnv' | 'factEnv'> {
  const given = givenVariables(definition, place.region)
  const all = new Map([...ownVariables(definition, place), ...given])
  const isVariable = (name: string) => all.has(name) || Object.hasOwn(FACTS, name)
  const kindOf = (value: string) => (namesIn(value).some(isVariable) ? 'derived' : referencesIn(value).length > 0 ? 'secret' : 'plain')
  const pick = (kind: ReturnType<typeof kindOf>) => Object.fromEntries([...all].filter(([, value]) => kindOf(value) === kind))
  const [secretEnv, derivedEnv] = [pick('secret'), pick('derived')]
  return {
    env: pick('plain'),
    ...(Object.keys(secretEnv).length === 0 ? {} : { secretEnv }),
    ...(Object.keys(derivedEnv).length === 0 ? {} : { derivedEnv }),
    factEnv: FACTS,
  }
}

/** Of a region; the last one of a name counts. */
function givenVariables(definition: Json, region: string): ReadonlyMap<string, string> {
  const all = new Map<string, string>()
  for (const [index, item] of asList('definition.env', definition['env']).entries()) {
    const field = `definition.env[${index}]`
    const entry = asObject(field, item)
    const [secret, value] = [asText(`${field}.secret`, entry['secret']), asText(`${field}.value`, entry['value'])]
    if (secret !== '' && value !== '') throw fieldError(field, 'give either value or secret')
    if (secret !== '' && referencesIn(referenceTo(secret)).length === 0) throw fieldError(`${field}.secret`, `${quoted(secret)} is not the name of a secret`)
    const key = requiredText(`${field}.key`, entry['key'])
    const scopes = asTexts(`${field}.scopes`, entry['scopes'])
    if (scopes.length === 0 || scopes.includes(`region:${region}`)) all.set(key, secret === '' ? value : referenceTo(secret))
  }
  return all
}

/** What is the same for all replicas of a region. */
function ownVariables(definition: Json, { region, type, isWeb, ports }: Place): readonly (readonly [string, string])[] {
  const docker = asObject('definition.docker', definition['docker'])
  const numbers = ports.map(({ port }) => port)
  return [
    ['KOYEB_REGION', region],
    ['KOYEB_DC', datacenterOf(region)],
    ['KOYEB_INSTANCE_TYPE', type.names.koyeb ?? type.id],
    ['KOYEB_INSTANCE_MEMORY_MB', String(Math.round(type.memoryBytes / MEBIBYTE))],
    ['KOYEB_PRIVILEGED', String(asFlag('definition.docker.privileged', docker['privileged']))],
    ['KOYEB_DOCKER_REF', asText('definition.docker.image', docker['image'])],
    ...ports.map(({ port, protocol }) => [`KOYEB_PORT_${port}_PROTOCOL`, protocol] as const),
    // As the original has it for what serves.
    ...(isWeb && numbers.length > 0 ? [['PORT', String(Math.min(...numbers))] as const] : []),
  ]
}
