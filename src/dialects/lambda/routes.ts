/** The Lambda Cloud dialect: its Instances API, and what makes it usable: SSH keys, types, regions, images. */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Dialect, DialectOptions } from '../dialect.ts'
import { listAuditEvents } from './audit-events.ts'
import { installBodyParser } from './body.ts'
import { listImages, listInstanceTypes, listRegions } from './catalog.ts'
import { presentError } from './errors.ts'
import { createFileSystem, deleteFileSystem, listFileSystems } from './file-systems.ts'
import { createRuleset, deleteRuleset, getFirewallRules, getGlobalRuleset, getRuleset, listRulesets, putFirewallRules, updateGlobalRuleset, updateRuleset } from './firewalls.ts'
import { getInstance, listInstances, restartInstances, terminateInstances, updateInstance } from './instances.ts'
import { launchInstance } from './launch.ts'
import { addSshKey, deleteSshKey, listSshKeys } from './ssh-keys.ts'
import type { Surface } from './surface.ts'
import { DIALECT, installSurface } from './surface.ts'

const PREFIX = '/api/v1'

type Handler = (surface: Surface, request: FastifyRequest) => Promise<unknown>

async function lambdaRoutes(app: FastifyInstance, options: DialectOptions): Promise<void> {
  const { engine, catalogue, now } = options
  const surface: Surface = { engine, catalogue, restarting: new Set(), now }
  installSurface(app, options)
  installBodyParser(app)
  const route = (method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', path: string, handler: Handler): void => {
    app.route({
      method,
      url: path,
      handler: async (request, reply) => {
        const data = await handler(surface, request)
        return reply.code(200).header('content-type', 'application/json; charset=utf-8').send({ data })
      },
    })
  }

  route('GET', '/instances', listInstances)
  route('GET', '/instances/:id', getInstance)
  // Its update is a POST.
  route('POST', '/instances/:id', updateInstance)
  route('POST', '/instance-operations/launch', launchInstance)
  route('POST', '/instance-operations/restart', restartInstances)
  route('POST', '/instance-operations/terminate', terminateInstances)
  route('GET', '/instance-types', listInstanceTypes)
  route('GET', '/regions', listRegions)
  route('GET', '/images', listImages)

  route('GET', '/ssh-keys', listSshKeys)
  route('POST', '/ssh-keys', addSshKey)
  route('DELETE', '/ssh-keys/:id', deleteSshKey)

  // Listed under one path, made and deleted under another.
  route('GET', '/file-systems', listFileSystems)
  route('POST', '/filesystems', createFileSystem)
  route('DELETE', '/filesystems/:id', deleteFileSystem)

  route('GET', '/firewall-rules', getFirewallRules)
  route('PUT', '/firewall-rules', putFirewallRules)
  route('GET', '/firewall-rulesets', listRulesets)
  route('POST', '/firewall-rulesets', createRuleset)
  route('GET', '/firewall-rulesets/global', getGlobalRuleset)
  route('PATCH', '/firewall-rulesets/global', updateGlobalRuleset)
  route('GET', '/firewall-rulesets/:id', getRuleset)
  route('PATCH', '/firewall-rulesets/:id', updateRuleset)
  route('DELETE', '/firewall-rulesets/:id', deleteRuleset)

  // The one answer with a second member beside `data`.
  app.get('/audit-events', async (request, reply) => {
    const page = await listAuditEvents(surface, request)
    return reply.code(200).header('content-type', 'application/json; charset=utf-8').send(page)
  })
}

export const lambdaDialect: Dialect = { name: DIALECT, prefix: PREFIX, plugin: lambdaRoutes, presentError }
