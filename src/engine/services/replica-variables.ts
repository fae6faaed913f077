/** The variables of one replica: those of its template, and what it is told about itself. */
import type { InstanceSpec } from '../../instance/model.ts'
import type { ReplicaFact, Service } from '../../instance/service.ts'
import type { StoreReader } from '../store-port.ts'
import type { Slot } from './plan.ts'

type Reader = Pick<StoreReader, 'serviceRecord' | 'project'>

export async function variablesOfReplica(reader: Reader, service: Service, { set, index }: Slot): Promise<Required<Pick<InstanceSpec, 'env' | 'derivedEnv'>>> {
  const { env, secretEnv = {}, derivedEnv = {}, factEnv = {} } = set.template
  const asked = Object.entries(factEnv).filter(([name]) => [env, secretEnv, derivedEnv].every(given => !Object.hasOwn(given, name)))
  if (asked.length === 0) return { env, derivedEnv }
  const [app, project] = await Promise.all([reader.serviceRecord('app', service.appId), reader.project(service.projectId)])
  const known: Readonly<Record<ReplicaFact, string>> = {
    'app-id': service.appId,
    'app-name': app?.name ?? '',
    'service-id': service.id,
    'service-name': service.name,
    'set-id': set.id,
    'replica-index': String(index),
    'project-id': service.projectId,
    'project-name': project?.name ?? '',
    // Known when it starts.
    'instance-id': '{{ instance.id }}',
    'host-id': '{{ instance.host }}',
  }
  const told = asked.map(([name, fact]) => [name, known[fact]] as const)
  // Names of an organization may hold anything, and stand for nothing.
  const isLater = (name: string) => factEnv[name] === 'instance-id' || factEnv[name] === 'host-id'
  return {
    env: { ...Object.fromEntries(told.filter(([name]) => !isLater(name))), ...env },
    derivedEnv: { ...Object.fromEntries(told.filter(([name]) => isLater(name))), ...derivedEnv },
  }
}
