/**
 * The `berth` command. Only the module of the command that was named is loaded, so that the command line is
 * quick; help and completion load all of them.
 *
 * A command is one file that exports `register(program, context)`. To add one: write the file, add a line to
 * COMMANDS.
 */
import { enableCompileCache } from 'node:module'

enableCompileCache()
const { run } = await import('./program.ts')
await run(process.argv.slice(2))
