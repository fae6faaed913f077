/** `berth mcp`: an MCP server on stdin and stdout, for Claude, Cursor, VS Code and the like to start. */
import type { Command } from 'commander'
import { findMcp } from '../connection.ts'
import { commonOptions, withServer } from '../context.ts'
import type { Context } from '../context.ts'
import { ownVersion } from './version.ts'

interface McpOptions {
  readonly url?: string
  readonly readOnly?: boolean
  /** False with --no-exec. */
  readonly exec: boolean
  readonly toolsets?: string
}

const HELP = `
It speaks for a running server ("berth serve"), and ends when its input does. In a client's configuration:

  { "mcpServers": { "berth": { "command": "berth", "args": ["mcp"] } } }`

export function register(program: Command, context: Context): void {
  withServer(program.command('mcp').description('serve MCP on stdin and stdout, for an agent’s client to start'))
    .option('--url <url>', 'the MCP endpoint (BERTH_MCP_URL; default: that of the server)')
    .option('--read-only', 'offer only what changes nothing')
    .option('--no-exec', 'offer nothing that reaches into instances')
    .option('--toolsets <list>', 'offer only these: core, catalogue, instances, lifecycle, observe, exec, files, snapshots, market; or all')
    .addHelpText('after', HELP)
    .action(async (options: McpOptions, command: Command) => {
      const { server, key } = commonOptions(command)
      const { url, key: found } = findMcp({ url: options.url, server, key }, context.env)
      const { runBridge } = await import('../mcp-bridge.ts')
      await runBridge({
        url,
        key: found,
        version: ownVersion(),
        headers: {
          ...(options.readOnly === true ? { 'berth-mcp-read-only': 'true' } : {}),
          ...(options.exec ? {} : { 'berth-mcp-no-exec': 'true' }),
          ...(options.toolsets === undefined ? {} : { 'berth-mcp-toolsets': options.toolsets }),
        },
      })
    })
}
