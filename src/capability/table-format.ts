/** Tables of documents for people: those of HTML, by a CSS selector, and those of Markdown; each row by the table's headings. */
import { parse } from 'node-html-parser'
import type { HTMLElement } from 'node-html-parser'
import type { Json } from './model.ts'

/** Every table that the selector finds, or that is in what it finds; each a list of rows. */
export function readHtml(text: string, selector: string | null): Json {
  const root = parse(text)
  const found = selector === null ? [root] : root.querySelectorAll(selector)
  const tables = new Set(found.flatMap((each) => (each.tagName === 'TABLE' ? [each] : each.querySelectorAll('table'))))
  return { tables: [...tables].flatMap((each) => readTable(each)) }
}

function readTable(table: HTMLElement): readonly Json[] {
  const [head, ...rows] = table.querySelectorAll('tr').map((row) => row.querySelectorAll('th, td').map((cell) => cell.structuredText.replace(/\s+/g, ' ').trim()))
  return head === undefined || head.length === 0 ? [] : [toRows(head, rows)]
}

/** Tables between pipes, under a line of dashes. */
export function readMarkdownTables(text: string): readonly Json[] {
  const lines = text.split(/\r?\n/)
  const cells = (line: string): readonly string[] => line.trim().replace(/^\||\|$/g, '').split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll('\\|', '|'))
  const tables: Json[] = []
  for (let at = 1; at < lines.length; at += 1) {
    const line = lines[at] ?? ''
    const isRule = /^[\s|:-]+$/.test(line) && line.includes('|') && cells(line).every((cell) => /^:?-+:?$/.test(cell))
    const head = lines[at - 1] ?? ''
    if (!isRule || !head.includes('|')) continue
    const rows: (readonly string[])[] = []
    while ((lines[at + 1] ?? '').includes('|')) rows.push(cells(lines[++at] ?? ''))
    tables.push(toRows(cells(head), rows))
  }
  return tables
}

function toRows(head: readonly string[], rows: readonly (readonly string[])[]): Json {
  return rows.map((row) => Object.fromEntries(head.map((name, at) => [name, row[at] ?? ''])))
}
