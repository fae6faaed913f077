/**
 * Writes the table of tools in docs/mcp.md from the tools themselves, so that it can't drift from the code.
 * Usage: node scripts/mcp-reference.ts
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { setsOf } from '../src/mcp/mode.ts'
import type { Tool } from '../src/mcp/tool.ts'
import { ALL_TOOLS } from '../src/mcp/tools/all.ts'

const PAGE = new URL('../docs/mcp.md', import.meta.url)
const BEGIN = '<!-- Made by scripts/mcp-reference.ts from the tools: change those, then run it. -->\n'
const END = '<!-- End of what is made. -->\n'

/** The page with the table as the tools are now. */
export function withTools(page: string): string {
  const begin = page.indexOf(BEGIN)
  const end = page.indexOf(END)
  if (begin < 0 || end < begin) throw new Error('docs/mcp.md has no place for the table of tools')
  const rows = ALL_TOOLS.toSorted((a, b) => (a.name < b.name ? -1 : 1)).map(row)
  return `${page.slice(0, begin)}${BEGIN}\n| Tool | What it does | Arguments | Scope | Sets | Hints |\n|---|---|---|---|---|---|\n${rows.join('')}\n${page.slice(end)}`
}

function row(tool: Tool): string {
  const { properties = {}, required = [] } = tool.inputSchema() as { properties?: Readonly<Record<string, unknown>>; required?: readonly string[] }
  const args = Object.keys(properties).map(name => (required.includes(name) ? `**${name}**` : name))
  return `| \`${tool.name}\` | ${tool.description.replaceAll('|', '\\|')} | ${args.join(', ')} | ${tool.scope} | ${setsOf(tool).join(', ')} | ${hintsOf(tool)} |\n`
}

function hintsOf({ hints }: Tool): string {
  const words = [hints.readOnly ? 'reads' : hints.destructive ? 'destroys' : 'changes', ...(hints.idempotent ? ['again is the same'] : []), ...(hints.openWorld ? ['open world'] : [])]
  return words.join(', ')
}

if (import.meta.main) writeFileSync(PAGE, withTools(readFileSync(PAGE, 'utf8')))
