/** `/berth/v1/firewalls`: what may reach the instances that have a firewall. */
import { Type } from 'typebox'
import type { FirewallChange, FirewallRulesetView } from '../../../engine/firewalls.ts'
import type { FirewallRule } from '../../../instance/model.ts'
import { acceptFirewallRules, acceptRegion } from '../accept.ts'
import { callerOf } from '../app.ts'
import type { AddRoutes } from '../app.ts'
import { pageOf } from '../page.ts'
import { presentInstance, presentTime } from '../present.ts'
import { findFirewall, findInstance } from '../resolve.ts'
import { AddFirewallBody, CreateFirewallBody, FirewallParams, FirewallRulesBody, InstanceFirewallParams, SetFirewallBody, UpdateFirewallBody } from '../schema/firewalls.ts'
import type { FirewallBody, FirewallRuleBody } from '../schema/firewalls.ts'
import { InstanceParams } from '../schema/instance-requests.ts'
import { page, PageQuery } from '../schema/page.ts'
import type { Caller } from '../../../engine/api.ts'

const tags = ['firewalls']
const FirewallRef = Type.Ref('Firewall#')
const InstanceRef = Type.Ref('Instance#')
const RulesRef = Type.Ref('GlobalFirewallRules#')

export const firewallRoutes: AddRoutes = (app, { engine, catalogue }) => {
  app.post('/firewalls', {
    schema: { tags, operationId: 'createFirewall', summary: 'Make a firewall ruleset', body: CreateFirewallBody, response: { 201: FirewallRef } },
    handler: async (request, reply) => {
      const { name, region, rules = [] } = request.body
      const made = await engine.firewalls.create(callerOf(request), { name, region: acceptRegion(region, catalogue).id, rules: acceptFirewallRules(rules) })
      return reply.code(201).send(presentFirewall(made))
    },
  })

  app.get('/firewalls', {
    schema: { tags, operationId: 'listFirewalls', summary: 'List firewall rulesets', querystring: PageQuery, response: { 200: page(FirewallRef) } },
    handler: async (request) => {
      const { items, next } = pageOf(await engine.firewalls.list(callerOf(request)), request.query, ({ createdAt, id }) => [createdAt, id])
      return { items: items.map(presentFirewall), next }
    },
  })

  app.get('/firewalls/:firewall', {
    schema: { tags, operationId: 'getFirewall', summary: 'One firewall ruleset', params: FirewallParams, response: { 200: FirewallRef } },
    handler: async (request) => presentFirewall(await findFirewall(engine, callerOf(request), request.params.firewall)),
  })

  app.patch('/firewalls/:firewall', {
    schema: {
      tags,
      operationId: 'updateFirewall',
      summary: 'Change the name or the rules of a ruleset',
      description: 'The answer comes when the new rules are in force for every instance that has it.',
      params: FirewallParams,
      body: UpdateFirewallBody,
      response: { 200: FirewallRef },
    },
    handler: async (request) => {
      const caller = callerOf(request)
      const { id } = await findFirewall(engine, caller, request.params.firewall)
      const { name, rules } = request.body
      return presentFirewall(await engine.firewalls.update(caller, id, { ...(name === undefined ? {} : { name }), ...(rules === undefined ? {} : { rules: acceptFirewallRules(rules) }) }))
    },
  })

  app.delete('/firewalls/:firewall', {
    schema: { tags, operationId: 'deleteFirewall', summary: 'Delete a firewall ruleset', description: '`volume_in_use` while an instance has it.', params: FirewallParams, response: { 204: Type.Null() } },
    handler: async (request, reply) => {
      const caller = callerOf(request)
      const { id } = await findFirewall(engine, caller, request.params.firewall)
      await engine.firewalls.delete(caller, id)
      return reply.code(204).send(null)
    },
  })

  app.get('/firewall-rules', {
    schema: { tags, operationId: 'getGlobalFirewallRules', summary: 'The rules that every firewall of the project has', response: { 200: RulesRef } },
    handler: async (request) => presentRules(await engine.firewalls.globalRules(callerOf(request))),
  })

  app.put('/firewall-rules', {
    schema: {
      tags,
      operationId: 'setGlobalFirewallRules',
      summary: 'Replace the rules that every firewall of the project has',
      description: 'The answer comes when they are in force. Instances without a firewall are not touched.',
      body: FirewallRulesBody,
      response: { 200: RulesRef },
    },
    handler: async (request) => presentRules(await engine.firewalls.setGlobalRules(callerOf(request), acceptFirewallRules(request.body.rules))),
  })

  const assign = async (caller: Caller, instance: string, change: FirewallChange) => {
    const { id } = await findInstance(engine, caller, instance)
    return presentInstance(await engine.firewalls.assign(caller, id, change))
  }

  app.put('/instances/:instance/firewalls', {
    schema: {
      tags,
      operationId: 'setInstanceFirewalls',
      summary: 'Give an instance a firewall, or take it away',
      description: 'In force when the answer comes. `not_supported` where the host can hold none.',
      params: InstanceParams,
      body: SetFirewallBody,
      response: { 200: InstanceRef },
    },
    handler: async (request) => {
      const caller = callerOf(request)
      const { firewalls } = request.body
      const set = firewalls === null ? null : await Promise.all(firewalls.map(async (word) => (await findFirewall(engine, caller, word)).id))
      return assign(caller, request.params.instance, { set })
    },
  })

  app.post('/instances/:instance/firewalls', {
    schema: {
      tags,
      operationId: 'attachFirewall',
      summary: 'Attach a ruleset to an instance',
      description: 'One without a firewall gets one: from then on only what its rulesets and the global rules let in reaches it.',
      params: InstanceParams,
      body: AddFirewallBody,
      response: { 200: InstanceRef },
    },
    handler: async (request) => {
      const caller = callerOf(request)
      return assign(caller, request.params.instance, { add: (await findFirewall(engine, caller, request.body.firewall)).id })
    },
  })

  app.delete('/instances/:instance/firewalls/:firewall', {
    schema: {
      tags,
      operationId: 'detachFirewall',
      summary: 'Detach a ruleset from an instance',
      description: 'The firewall stays, with the global rules at least.',
      params: InstanceFirewallParams,
      response: { 200: InstanceRef },
    },
    handler: async (request) => {
      const caller = callerOf(request)
      return assign(caller, request.params.instance, { remove: (await findFirewall(engine, caller, request.params.firewall)).id })
    },
  })
}

function presentFirewall({ id, projectId, name, region, rules, instanceIds, createdAt }: FirewallRulesetView): FirewallBody {
  return { id, projectId, name, region, rules: rules.map(presentRule), instanceIds: [...instanceIds], createdAt: presentTime(createdAt) }
}

function presentRules(rules: readonly FirewallRule[]): { readonly rules: FirewallRuleBody[] } {
  return { rules: rules.map(presentRule) }
}

function presentRule({ protocol, ports, source, description }: FirewallRule): FirewallRuleBody {
  return { protocol, ports: ports === null ? null : [...ports], source, description }
}
