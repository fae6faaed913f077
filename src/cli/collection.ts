/** The two commands that every collection of the API has alike: `ls` and `rm`. */
import type { Command } from 'commander'
import { part } from './client.ts'
import type { Query } from './client.ts'
import { commonOptions, withServer } from './context.ts'
import type { Context } from './context.ts'
import { print, printJson, printLines, table } from './output.ts'
import type { Column } from './output.ts'

export interface Listing<Row> {
  /** Of the collection in the API, like `/volumes`. */
  readonly path: string
  readonly description: string
  readonly columns: readonly Column<Row>[]
  /** What `--quiet` prints of a row, and what it calls it. */
  readonly quiet: { readonly what: string; readonly text: (row: Row) => string }
  /** An argument that narrows the list, and the query that it becomes. */
  readonly argument?: { readonly spelling: string; readonly query: (word: string) => Query }
}

/** `ls`, which is also what the bare name of the collection does. */
export function addList<Row>(parent: Command, context: Context, listing: Listing<Row>): void {
  const { path, description, columns, quiet, argument } = listing
  const command = withServer(parent.command('ls', { isDefault: true }).alias('list').description(description)).option('-q, --quiet', `${quiet.what} only`)
  if (argument !== undefined) command.argument(argument.spelling)
  command.action(async () => {
    const [word] = command.args
    const all = await context.connect(command).list<Row>(path, argument === undefined || word === undefined ? {} : argument.query(word))
    if (commonOptions(command).json === true) return printJson(all)
    if (command.opts<{ quiet?: boolean }>().quiet === true) return printLines(all.map(quiet.text))
    await print(table(all, columns))
  })
}

export interface Removal {
  /** Of the collection in the API, like `/volumes`. */
  readonly path: string
  /** Like `<volume...>` */
  readonly argument: string
  readonly description: string
}

/** `rm` of one or several; prints each when it is gone. */
export function addRemove(parent: Command, context: Context, { path, argument, description }: Removal): void {
  withServer(parent.command(`rm ${argument}`).description(description)).action(async (words: readonly string[], _options: unknown, command: Command) => {
    const client = context.connect(command)
    for (const word of words) {
      await client.call('DELETE', `${path}/${part(word)}`)
      if (commonOptions(command).json !== true) await print(`${word}\n`)
    }
  })
}

/** What `--quiet` means for a collection whose things have ids. */
export const IDS = { what: 'ids', text: ({ id }: { readonly id: string }) => id } as const
