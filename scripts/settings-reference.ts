/**
 * Writes the table of settings in docs/settings.md from the server's own, so that it can't drift from the code.
 * Usage: node scripts/settings-reference.ts
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { SETTINGS } from '../src/server/config.ts'
import type { Setting } from '../src/server/config.ts'

const PAGE = new URL('../docs/settings.md', import.meta.url)
const BEGIN = '<!-- Made by scripts/settings-reference.ts from src/server/config.ts: change that, then run it. -->\n'
const END = '<!-- End of what is made. -->\n'

/** The page with the table as the settings are now. */
export function withSettings(page: string): string {
  const begin = page.indexOf(BEGIN)
  const end = page.indexOf(END)
  if (begin < 0 || end < begin) throw new Error('docs/settings.md has no place for the table of settings')
  return `${page.slice(0, begin)}${BEGIN}\n| Variable | Option | Default | |\n|---|---|---|---|\n${Object.values(SETTINGS).map(row).join('')}\n${page.slice(end)}`
}

/** What only the environment carries has no option: it would be seen in the process list. */
function row({ variable, flag, placeholder, fallback, help }: Setting): string {
  const option = placeholder === null ? '–' : `\`--${flag} ${placeholder.toLowerCase().replaceAll('|', '\\|')}\``
  return `| \`${variable}\` | ${option} | ${fallback === '' ? '' : `\`${fallback}\``} | ${help.replaceAll('|', '\\|')} |\n`
}

if (import.meta.main) writeFileSync(PAGE, withSettings(readFileSync(PAGE, 'utf8')))
