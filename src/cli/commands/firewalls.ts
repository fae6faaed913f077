/** `berth firewall ls | create | update | inspect | attach | detach | global | rm` */
import type { Command } from 'commander'
import type { FirewallBody, FirewallRuleBody, FirewallRuleRequest, GlobalRulesBody } from '../../dialects/native/schema/firewalls.ts'
import { part } from '../client.ts'
import { addList, addRemove, IDS } from '../collection.ts'
import { commonOptions, withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { parseFirewallRule, usage } from '../flags.ts'
import { shortId } from '../instance-text.ts'
import { age, print, printJson, printLines } from '../output.ts'
import type { Column } from '../output.ts'
import { collect } from './ps.ts'

const RULE = 'what is let in, as PROTOCOL[:PORT[-PORT]][@NETWORK], like tcp:80@10.0.0.0/8 or icmp; may be given several times'

interface RuleOptions {
  readonly rule?: readonly string[]
}

export function register(program: Command, context: Context): void {
  const all = program.command('firewall').alias('firewalls').description('list, make and change firewall rulesets, and give them to instances')

  addList<FirewallBody>(all, context, { path: '/firewalls', description: 'list firewall rulesets', quiet: IDS, columns: COLUMNS })

  withServer(all.command('create <name>').description('make a ruleset'))
    .option('--rule <rule>', RULE, collect)
    .action(async (name: string, options: RuleOptions, command: Command) => {
      const made = await context.connect(command).call<FirewallBody>('POST', '/firewalls', { json: { name, rules: rulesOf(options) } })
      if (commonOptions(command).json === true) return printJson(made)
      await print(`${made.id}\n`)
    })

  withServer(all.command('update <firewall>').description('replace the rules of a ruleset, or its name'))
    .option('--rule <rule>', RULE, collect)
    .option('--no-rules', 'let nothing in, beside the global rules')
    .option('--name <name>', 'its new name')
    .action(async (word: string, options: RuleOptions & { readonly rules: boolean; readonly name?: string }, command: Command) => {
      const replaces = options.rule !== undefined || !options.rules
      if (!replaces && options.name === undefined) throw usage('Say what shall change: --rule, --no-rules or --name.')
      if (options.rule !== undefined && !options.rules) throw usage('--rule and --no-rules contradict each other.')
      const json = { ...(options.name === undefined ? {} : { name: options.name }), ...(replaces ? { rules: rulesOf(options) } : {}) }
      const changed = await context.connect(command).call<FirewallBody>('PATCH', `/firewalls/${part(word)}`, { json })
      if (commonOptions(command).json === true) await printJson(changed)
    })

  withServer(all.command('inspect <firewall...>').description('show everything about rulesets, as JSON')).action(
    async (words: readonly string[], _options: unknown, command: Command) => {
      const client = context.connect(command)
      await printJson(await Promise.all(words.map((word) => client.call<FirewallBody>('GET', `/firewalls/${part(word)}`))))
    },
  )

  withServer(all.command('attach <instance> [firewall...]').description('attach rulesets to an instance; with none it gets a firewall of the global rules')).action(
    async (instance: string, words: readonly string[], _options: unknown, command: Command) => {
      const client = context.connect(command)
      const path = `/instances/${part(instance)}/firewalls`
      const { firewallRulesets } = await client.call<{ firewallRulesets: readonly string[] | null }>('GET', `/instances/${part(instance)}`)
      if (words.length === 0 && firewallRulesets === null) await client.call('PUT', path, { json: { firewalls: [] } })
      for (const word of words) await client.call('POST', path, { json: { firewall: word } })
      if (commonOptions(command).json === true) await printJson(await client.call('GET', `/instances/${part(instance)}`))
    },
  )

  withServer(all.command('detach <instance> [firewall...]').description('detach rulesets from an instance'))
    .option('--all', 'take the whole firewall away: everything may reach it')
    .action(async (instance: string, words: readonly string[], options: { all?: boolean }, command: Command) => {
      if ((words.length === 0) !== (options.all === true)) throw usage('Name the rulesets to detach, or take the whole firewall away with --all.')
      const client = context.connect(command)
      const path = `/instances/${part(instance)}/firewalls`
      if (options.all === true) await client.call('PUT', path, { json: { firewalls: null } })
      for (const word of words) await client.call('DELETE', `${path}/${part(word)}`)
      if (commonOptions(command).json === true) await printJson(await client.call('GET', `/instances/${part(instance)}`))
    })

  withServer(all.command('global').description('show the rules that every firewall of the project has, or replace them'))
    .option('--rule <rule>', RULE, collect)
    .option('--no-rules', 'let nothing in')
    .action(async (options: RuleOptions & { readonly rules: boolean }, command: Command) => {
      const client = context.connect(command)
      const replaces = options.rule !== undefined || !options.rules
      if (options.rule !== undefined && !options.rules) throw usage('--rule and --no-rules contradict each other.')
      const { rules } = replaces
        ? await client.call<GlobalRulesBody>('PUT', '/firewall-rules', { json: { rules: rulesOf(options) } })
        : await client.call<GlobalRulesBody>('GET', '/firewall-rules')
      if (commonOptions(command).json === true) return printJson(rules)
      await printLines(rules.map((rule) => tellRule(rule) + (rule.description === '' ? '' : `  # ${rule.description}`)))
    })

  addRemove(all, context, { path: '/firewalls', argument: '<firewall...>', description: 'delete rulesets' })
}

function rulesOf({ rule = [] }: RuleOptions): readonly FirewallRuleRequest[] {
  return rule.map(parseFirewallRule)
}

/** As --rule takes it. */
function tellRule({ protocol, ports, source }: FirewallRuleBody): string {
  const [first, last] = ports ?? []
  const range = first === undefined ? '' : first === last ? `:${first}` : `:${first}-${last}`
  return `${protocol}${range}@${source}`
}

const COLUMNS: readonly Column<FirewallBody>[] = [
  { title: 'ID', text: ({ id }) => id },
  { title: 'NAME', text: ({ name }) => name },
  { title: 'RULES', text: ({ rules }) => rules.map(tellRule).join(', ') || '-' },
  { title: 'AGE', text: ({ createdAt }) => age(createdAt), align: 'right' },
  { title: 'INSTANCES', text: ({ instanceIds }) => instanceIds.map(shortId).join(', ') || '-' },
]
